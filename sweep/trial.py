"""One trial, as a straight line: load, train, save, free, load what was saved, score.

What happens to a trial becomes its record: out of memory, divergence, the deadline, an interruption, a bug. What the
user has to mend (an InputError: a model that cannot be loaded, a task without data) is raised as it is, because every
other trial of the study would end the same way. A worker that is told to stop raises KeyboardInterrupt, from its
signal handler or from `on_progress`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from evals.harness import score
from evals.models.load import load_model, load_tokenizer
from evals.models.scored import load_lm
from evals.models.source import local_model
from evals.offline import reading_from
from evals.result import EvalResult
from evals.spec import ModelSpec
from evals.tasks.library import TaskLibrary
from sweep.adapters import attach
from sweep.config import TrialConfig
from sweep.course import Course, forget_checkpoint
from sweep.data.prepared import PreparedData
from sweep.errors import InputError, TrialError
from sweep.method_rules import quantization_of
from sweep.models import load_for_training, release_memory, without_loading_bars
from sweep.progress import Progress
from sweep.record import TrialRecord
from sweep.resources import ResourceWatch
from sweep.roofline import product_of
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory
from sweep.training.solo import TrainingOutcome, train


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a trial is given beside its config."""

    model: ModelSpec
    directory: TrialDirectory
    prepared: PreparedData
    cache: Path
    device: torch.device
    library: TaskLibrary | None
    on_rung: Callable[[int, float], bool]
    on_progress: Callable[[Progress], None]
    deadline: float | None


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
    data_seconds: float = 0.0,
) -> TrialRecord:
    """Run one trial and say what came of it; the base model is only scored. The objective is left to the driver.

    A library that is kept between trials spares loading benchmarks again. `data_seconds` is what it took to find
    the trial's rows; that counts as the trial's time.
    Raises InputError alone. Nothing is written outside the trial's directory and the cache, and the record is not
    written at all.
    """
    began = time.monotonic()
    course = Course(seconds={"data": data_seconds} if data_seconds else {})
    around = _Surroundings(
        model=local_model(config.model, config.scoring.data_root),
        directory=directory,
        prepared=prepared,
        cache=cache,
        device=device,
        library=library,
        on_rung=partial(_report_rung, course, on_rung),
        on_progress=on_progress,
        deadline=None if config.deadline_seconds is None else began + config.deadline_seconds,
    )
    product = None if config.method_spec is None else product_of(config.model.dtype, device)
    with ResourceWatch(device) as watch, without_loading_bars(), reading_from(config.scoring.data_root):
        _run_guarded(config, around, course)
        course.memory = watch.peak()
        course.device = watch.use().model_copy(update={"matrix_product": product})
    release_memory()
    seconds_total = data_seconds + time.monotonic() - began
    return course.record(config, directory, data_sha256=prepared.sha256, seconds_total=seconds_total)


def _report_rung(course: Course, on_rung: Callable[[int, float], bool], rung: int, loss: float) -> bool:
    course.intermediate[rung] = loss
    return on_rung(rung, loss)


def _run_guarded(config: TrialConfig, around: _Surroundings, course: Course) -> None:
    forget_checkpoint(around.directory)
    around.directory.steps.unlink(missing_ok=True)
    try:
        _run(config, around, course)
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever ends a trial is its result
        course.fail(error, around.directory)


def _run(config: TrialConfig, around: _Surroundings, course: Course) -> None:
    if config.method_spec is not None:
        outcome = _train(config, config.method_spec, around, course)
        course.training = outcome.result
        if outcome.pruned:
            course.state = "PRUNED"
            return
        release_memory()
    _refuse_late(around.deadline)
    course.evaluation = _score(config, around, course)


def _train(config: TrialConfig, method: MethodSpec, around: _Surroundings, course: Course) -> TrainingOutcome:
    around.on_progress(Progress("load", 0, 0, None))
    began = time.monotonic()
    tokenizer = load_tokenizer(around.model, cache=around.cache)
    base = load_for_training(around.model, method, cache=around.cache, device=around.device)
    load_original = partial(load_model, around.model, cache=around.cache, device=torch.device("cpu"))
    trainee = attach(base, method, around.model, seed=config.seed, load_original=load_original)
    course.seconds["load"] = time.monotonic() - began
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
    )
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


def score_checkpoint(  # noqa: PLR0913
    config: TrialConfig,
    directory: TrialDirectory,
    prepared: PreparedData,
    *,
    cache: Path,
    device: torch.device,
    library: TaskLibrary | None,
    on_progress: Callable[[Progress], None],
) -> EvalResult:
    """Score what a trial saved, or the base model as it is, on the trial's tasks. Raises as loading and scoring do."""
    method, checkpoint = config.method_spec, directory.checkpoint
    tuned_whole = method is not None and method.kind == "full"
    lm = load_lm(
        local_model(config.model, config.scoring.data_root),
        cache=cache,
        device=device,
        batch_size=config.scoring.batch_size,
        quantization=None if method is None else quantization_of(method),
        adapter=None if method is None or tuned_whole else checkpoint,
        checkpoint=checkpoint if tuned_whole else None,
        backend=config.scoring.backend,
    )
    return score(
        lm,
        config.tasks,
        config.scoring,
        own=prepared.own(config.split),
        output=directory.eval,
        library=library,
        on_progress=lambda done, total: on_progress(Progress("score", done, total, None)),
        repeat=config.repeat,
    )


def _refuse_late(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TrialError("deadline", "The trial ran past its deadline before it was scored.")
