"""One trial, as a straight line: load, train, save, free, load what was saved, score.

What happens to a trial becomes its record: out of memory, divergence, the deadline, an interruption, a bug. What the
user has to mend (an InputError: a model that cannot be loaded, a task without data) is raised as it is, because every
other trial of the study would end the same way. A worker that is told to stop raises KeyboardInterrupt: from its signal
handler, from `on_progress`, or once what was trained is saved.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from evals.models.load import load_tokenizer
from evals.models.source import local_model
from evals.offline import reading_from
from evals.result import EvalResult
from evals.spec import ModelSpec
from evals.tasks.library import TaskLibrary
from sweep.adapters import load_trainee
from sweep.config import TrialConfig
from sweep.continuing import ALONE, Saving, go_on, open_keeper, start_over
from sweep.course import Account, Course
from sweep.data.prepared import PreparedData
from sweep.easing import Easing, eased
from sweep.errors import InputError, TrialError
from sweep.evaluation import score_checkpoint
from sweep.models import release_memory, without_loading_bars
from sweep.progress import Progress
from sweep.record import TrialRecord
from sweep.resources import ResourceWatch
from sweep.roofline import product_of
from sweep.sharded.crew import train_together
from sweep.sharded.order import Order
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train
from sweep.training.state.file import StateUnusableError
from sweep.training.state.keeper import StateKeeper


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a trial is given beside its config."""

    model: ModelSpec
    method: MethodSpec | None
    """As it is trained."""
    directory: TrialDirectory
    prepared: PreparedData
    cache: Path
    device: torch.device
    library: TaskLibrary | None
    on_rung: Callable[[int, float], bool]
    on_progress: Callable[[Progress], None]
    deadline: float | None
    keeper: StateKeeper | None
    watch: ResourceWatch


def run_trial(  # noqa: PLR0913
    config: TrialConfig,
    directory: TrialDirectory,
    prepared: PreparedData,
    *,
    cache: Path,
    device: torch.device,
    on_rung: Callable[[int, float], bool],
    on_progress: Callable[[Progress], None],
    library: TaskLibrary | None = None,
    saving: Saving | None = None,
    data_seconds: float = 0.0,
    easing: Easing | None = None,
) -> TrialRecord:
    """Run one trial and say what came of it; the base model is only scored. The objective is left to the driver.

    A library that is kept between trials spares loading benchmarks again. With `saving`, what is trained is saved now
    and then, and what an interrupted start of the trial saved in its directory is gone on from. `data_seconds` is what
    it took to find the trial's rows; that counts as the trial's time. `easing` says with what less it is trained.
    Raises InputError alone. Nothing is written outside the trial's directory and the cache, the record not at all.
    """
    began = time.monotonic() - data_seconds
    method = config.method_spec
    course = Course()
    watch = ResourceWatch(device, 1 if method is None else method.training.num_processes)

    def account() -> Account:
        course.measure(watch.peak(), watch.use())
        taken = time.monotonic() - began
        return course.account(seconds_total=taken, elapsed_seconds=taken)

    method = None if config.method_spec is None else eased(config.method_spec, easing)
    keeper = _keeper(config, method, directory, prepared, device, saving, account, on_progress)
    trained = go_on(keeper, course, directory, on_progress)
    if data_seconds:
        course.seconds["data"] = course.seconds.get("data", 0.0) + data_seconds
    deadline = config.deadline_seconds
    around = _Surroundings(
        model=local_model(config.model, config.scoring.data_root),
        method=method,
        directory=directory,
        prepared=prepared,
        cache=cache,
        device=device,
        library=library,
        on_rung=partial(_report_rung, course, on_rung),
        on_progress=on_progress,
        deadline=None if deadline is None else began + deadline - course.earlier_seconds,
        keeper=keeper,
        watch=watch,
    )
    product = None if method is None else product_of(config.model.dtype, device)
    with watch, without_loading_bars(), reading_from(config.scoring.data_root):
        _run_guarded(config, around, course, trained)
        course.measure(watch.peak(), watch.use().model_copy(update={"matrix_product": product}))
    release_memory()
    return course.record(config, directory, data_sha256=prepared.sha256, seconds_total=time.monotonic() - began)


def _keeper(  # noqa: PLR0913, PLR0917
    config: TrialConfig,
    method: MethodSpec | None,
    directory: TrialDirectory,
    prepared: PreparedData,
    device: torch.device,
    saving: Saving | None,
    account: Callable[[], Account],
    on_progress: Callable[[Progress], None],
) -> StateKeeper | None:
    if saving is None or method is None:
        return None
    return open_keeper(
        config,
        method.training,
        directory,
        data_sha256=prepared.sha256,
        device=device,
        way=ALONE,
        saving=saving,
        account=account,
        on_progress=on_progress,
    )


def _report_rung(course: Course, on_rung: Callable[[int, float], bool], rung: int, loss: float) -> bool:
    course.intermediate[rung] = loss
    return on_rung(rung, loss)


def _run_guarded(config: TrialConfig, around: _Surroundings, course: Course, trained: TrainingOutcome | None) -> None:
    try:
        _run(config, around, course, trained)
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever ends a trial is its result
        course.fail(error, around.directory)


def _run(config: TrialConfig, around: _Surroundings, course: Course, trained: TrainingOutcome | None) -> None:
    if around.method is not None:
        outcome = trained or _train_guarded(config, around.method, around, course)
        course.training = outcome.result
        course.intermediate.update(outcome.intermediate)
        if outcome.pruned:
            course.state = "PRUNED"
            return
        release_memory()
    _refuse_late(around.deadline)
    course.evaluation = _score(config, around, course)


def _train_guarded(config: TrialConfig, method: MethodSpec, around: _Surroundings, course: Course) -> TrainingOutcome:
    """Train, in a way that an interruption costs little."""
    keeper = around.keeper
    if method.training.num_processes > 1:
        # Nothing is saved until it has been trained, so a stop need not be waited for.
        outcome = _train_together(config, method, around, course)
        if keeper is not None and not outcome.pruned:
            keeper.finish(outcome, around.directory.checkpoint, around.directory.steps)
        return outcome
    if keeper is None:
        return _train(config, method, around, course)
    with keeper.stop.listening():
        try:
            outcome = _train(config, method, around, course)
        except StateUnusableError as error:
            keeper.discard(error)
            start_over(course, around.directory)
            outcome = _train(config, method, around, course)
        if not outcome.pruned:
            keeper.finish(outcome, around.directory.checkpoint, around.directory.steps)
    if keeper.stop.is_asked:
        raise KeyboardInterrupt
    return outcome


def _train(config: TrialConfig, method: MethodSpec, around: _Surroundings, course: Course) -> TrainingOutcome:
    around.on_progress(Progress("load", 0, 0, None))
    began = time.monotonic()
    tokenizer = load_tokenizer(around.model, cache=around.cache)
    trainee = load_trainee(around.model, method, seed=config.seed, cache=around.cache, device=around.device)
    course.seconds["load"] = course.seconds.get("load", 0.0) + time.monotonic() - began
    outcome = train(
        trainee,
        tokenizer,
        around.prepared,
        method.training,
        seed=config.seed,
        output=around.directory.checkpoint,
        steps_file=around.directory.steps,
        on_rung=around.on_rung,
        on_progress=around.on_progress,
        deadline=around.deadline,
        keeper=around.keeper,
    )
    course.seconds.update(outcome.seconds)
    return outcome


def _train_together(config: TrialConfig, method: MethodSpec, around: _Surroundings, course: Course) -> TrainingOutcome:
    """Train over several processes, each with a part of the model on a device of its own."""
    around.on_progress(Progress("load", 0, 0, None))
    release_memory()
    order = Order(
        model=around.model,
        method=method,
        seed=config.seed,
        prepared=around.prepared,
        cache=around.cache,
        hub=config.scoring.data_root,
        output=around.directory.checkpoint,
        steps=around.directory.steps,
        deadline=around.deadline,
    )
    outcome, memory = train_together(order, on_rung=around.on_rung, on_progress=around.on_progress)
    around.watch.note(memory)
    course.seconds.update(outcome.seconds)
    return outcome


def _score(config: TrialConfig, around: _Surroundings, course: Course) -> EvalResult:
    around.on_progress(Progress("score", 0, 0, None))
    began = time.monotonic()
    result = score_checkpoint(
        config,
        around.directory,
        around.prepared,
        cache=around.cache,
        device=around.device,
        library=around.library,
        on_progress=around.on_progress,
    )
    course.seconds["score"] = time.monotonic() - began
    return result


def _refuse_late(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TrialError("deadline", "The trial ran past its deadline before it was scored.")
