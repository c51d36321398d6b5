"""One trial, as a straight line: load, train, save, free, load what was saved, score.

What happens to a trial becomes its record: out of memory, divergence, the deadline, an interruption, a bug. What the
user has to mend (an InputError: a model that cannot be loaded, a task without data) is raised as it is, because every
other trial of the study would end the same way. A worker that is told to stop raises KeyboardInterrupt, from its
signal handler or from `on_progress`.
"""

import re
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
from sweep.data.prepared import PreparedData
from sweep.environment import describe
from sweep.errors import InputError, TrialError
from sweep.method_rules import quantization_of
from sweep.models import load_for_training, release_memory, without_loading_bars
from sweep.progress import Progress
from sweep.record import DeviceUse, Failure, FailureKind, MatrixProduct, Memory, State, TrainingResult, TrialRecord
from sweep.resources import ResourceWatch
from sweep.roofline import measured_product
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory, trained_tokens
from sweep.training.solo import TrainingOutcome, train

OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|ALLOC_FAILED|bad_alloc", re.IGNORECASE
)


@dataclass(slots=True)
class _Course:
    """What is known of a trial so far; whatever ends it, this much is recorded."""

    state: State = "COMPLETE"
    failure: Failure | None = None
    training: TrainingResult | None = None
    evaluation: EvalResult | None = None
    intermediate: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: Memory | None = None
    device: DeviceUse | None = None


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
) -> TrialRecord:
    """Run one trial and say what came of it; the base model is only scored. The objective is left to the driver.

    A library that is kept between trials spares loading benchmarks again.
    Raises InputError alone. Nothing is written outside the trial's directory and the cache, and the record is not
    written at all.
    """
    started_at, began = datetime.now(UTC), time.monotonic()
    course = _Course()
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
    product = None if config.method_spec is None else _product(config, device)
    with ResourceWatch(device) as watch, without_loading_bars(), reading_from(config.scoring.data_root):
        _run_guarded(config, around, course)
        course.memory = watch.peak()
        course.device = watch.use().model_copy(update={"matrix_product": product})
    release_memory()
    return TrialRecord(
        config=config,
        config_fingerprint=config.fingerprint(),
        state=course.state,
        failure=course.failure,
        training=course.training,
        evaluation=course.evaluation,
        intermediate=course.intermediate,
        seconds=course.seconds,
        memory=course.memory,
        tokens=trained_tokens(directory),
        device=course.device,
        data_sha256=dict(prepared.sha256),
        environment=describe(),
        started_at=started_at,
        seconds_total=time.monotonic() - began,
    )


def failure_of(error: BaseException) -> Failure:
    """What an error means for a trial."""
    kind: FailureKind = "error"
    match error:
        case TrialError():
            return Failure.model_validate({"kind": error.kind, "message": str(error)})
        case KeyboardInterrupt():
            return Failure(kind="interrupted", message="The trial was interrupted.")
        case MemoryError() | torch.OutOfMemoryError():
            kind = "out_of_memory"
        case RuntimeError() if OUT_OF_MEMORY.search(str(error)):
            kind = "out_of_memory"
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    trace = "".join(traceback.format_exception(error)) if kind == "error" else None
    return Failure(kind=kind, message=message, traceback=trace)


def _product(config: TrialConfig, device: torch.device) -> MatrixProduct | None:
    """How fast the device is; a trial is not lost over a product that the device does not have or has no room for."""
    try:
        return measured_product(device, getattr(torch, config.model.dtype))
    except RuntimeError:
        return None


def _report_rung(course: _Course, on_rung: Callable[[int, float], bool], rung: int, loss: float) -> bool:
    course.intermediate[rung] = loss
    return on_rung(rung, loss)


def _run_guarded(config: TrialConfig, around: _Surroundings, course: _Course) -> None:
    _forget_checkpoint(around.directory)
    around.directory.steps.unlink(missing_ok=True)
    try:
        _run(config, around, course)
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever ends a trial is its result
        course.state, course.failure = "FAIL", failure_of(error)
        # A traceback holds every frame it passed, and with them the model.
        traceback.clear_frames(error.__traceback__)
        _forget_checkpoint(around.directory)


def _run(config: TrialConfig, around: _Surroundings, course: _Course) -> None:
    if config.method_spec is not None:
        outcome = _train(config, config.method_spec, around, course)
        course.training = outcome.result
        if outcome.pruned:
            course.state = "PRUNED"
            return
        release_memory()
    _refuse_late(around.deadline)
    course.evaluation = _score(config, around, course)


def _train(config: TrialConfig, method: MethodSpec, around: _Surroundings, course: _Course) -> TrainingOutcome:
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


def _score(config: TrialConfig, around: _Surroundings, course: _Course) -> EvalResult:
    around.on_progress(Progress("score", 0, 0, None))
    began = time.monotonic()
    method, checkpoint = config.method_spec, around.directory.checkpoint
    tuned_whole = method is not None and method.kind == "full"
    lm = load_lm(
        around.model,
        cache=around.cache,
        device=around.device,
        batch_size=config.scoring.batch_size,
        quantization=None if method is None else quantization_of(method),
        adapter=None if method is None or tuned_whole else checkpoint,
        checkpoint=checkpoint if tuned_whole else None,
        backend=config.scoring.backend,
    )
    result = score(
        lm,
        config.tasks,
        config.scoring,
        own=around.prepared.own(config.split),
        output=around.directory.eval,
        library=around.library,
        on_progress=lambda done, total: around.on_progress(Progress("score", done, total, None)),
        repeat=config.repeat,
    )
    course.seconds["score"] = time.monotonic() - began
    return result


def _forget_checkpoint(directory: TrialDirectory) -> None:
    """A trial that did not complete keeps no checkpoint, nor one of an earlier attempt."""
    shutil.rmtree(directory.checkpoint, ignore_errors=True)


def _refuse_late(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TrialError("deadline", "The trial ran past its deadline before it was scored.")
