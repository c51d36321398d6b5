"""Find out how long things take: one short trial of each method, through a worker as in a study.

A probe trains the study's own rows at their own lengths for a few steps and scores a few items of every task, so its
records tell what any trial's record tells. Nothing of it goes into a run directory.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from evals.models.source import local_model
from evals.spec import RENDERED_TASKS, TaskSpec
from sweep.config import TrialConfig, configure
from sweep.events import OnEvent
from sweep.pool.local import LocalPool
from sweep.protocol import PrepareData, Runner
from sweep.record import TrialRecord
from sweep.selection import tasks_of
from sweep.spec import EvaluationSpec, StudySpec
from sweep.store import RunDirectory, TrialDirectory
from sweep.study.dispatch import Dispatcher
from sweep.study.sources import ListSource
from sweep.tracking.payload import read_steps
from sweep.worker import TrialRunner

PROBE_STEPS = 4
"""Optimizer steps; the first is left out, as it loads kernels and makes the optimizer's states."""
PROBE_ITEMS = 4
"""Items of each task; of the user's own rows a whole batch, as one of a batch that is not full takes longer."""

PHASES: tuple[Literal["search"], Literal["confirm"]] = ("search", "confirm")


def probe(  # noqa: PLR0913
    spec: StudySpec,
    *,
    data_root: Path,
    cache: Path,
    device: str | None = None,
    on_event: OnEvent | None = None,
    build_runner: Callable[[], Runner] | None = None,
) -> list[TrialRecord]:
    """Train and score each method briefly on one device. Raises InputError where something cannot be used."""
    with tempfile.TemporaryDirectory(prefix="sweep-probe-") as scratch:
        run = RunDirectory(Path(scratch))
        pool = LocalPool(build_runner or functools.partial(TrialRunner, cache), logs=run.path, devices=(device,))
        configs = [_short(spec, method, data_root) for method in spec.methods]
        try:
            dispatcher = Dispatcher(
                pool,
                run,
                data_for=functools.partial(_data_for, spec, cache),
                tracker=None,
                on_event=on_event or (lambda _: None),
            )
            dispatcher.prepare(_data_for(spec, cache, configs[0]))
            dispatcher.run(ListSource(configs, spec.objective, needs_objective=False))
        finally:
            pool.close()
        return [_steady(record, run.directory_of(record.config)) for config in configs for record in _read(run, config)]


def _short(spec: StudySpec, method: str, data_root: Path) -> TrialConfig:
    """The method's own settings for a few steps, one validation, and a few items of each task of either phase."""
    config = configure(spec, method, {}, phase="search", number=0, seed=spec.seed, data_root=data_root)
    own = spec.methods[method]
    training = own.training.model_copy(update={"max_steps": PROBE_STEPS, "validations": 1})
    return config.model_copy(
        update={
            "method_spec": own.model_copy(update={"training": training}),
            "tasks": _few_items(spec.evaluation),
        }
    )


def _few_items(evaluation: EvaluationSpec) -> tuple[TaskSpec, ...]:
    """Any items will do to time a task, so that no task is divided; where both phases ask it, as confirm does."""
    asked = {task.task: task for phase in PHASES for task in tasks_of(evaluation, phase)}
    batch = evaluation.scoring.batch_size
    limits = {name: max(PROBE_ITEMS, batch if name in RENDERED_TASKS else 0) for name in asked}
    return tuple(task.model_copy(update={"limit": limits[name], "portion": None}) for name, task in asked.items())


def _data_for(spec: StudySpec, cache: Path, config: TrialConfig) -> PrepareData:
    return PrepareData(
        model=local_model(config.model, config.scoring.data_root),
        data=config.data,
        data_root=config.data_root,
        max_length=config.max_length,
        directory=cache / "plan",
        seed=spec.seed,
        search_tasks=config.tasks,
        confirm_tasks=(),
        scoring=config.scoring,
        hub=config.scoring.data_root,
    )


def _read(run: RunDirectory, config: TrialConfig) -> list[TrialRecord]:
    record = run.directory_of(config).read_record()
    return [] if record is None else [record]


def _steady(record: TrialRecord, directory: TrialDirectory) -> TrialRecord:
    """The record with the rate of the steps after the first."""
    steps = [step for step in read_steps(directory.steps) if "tokens" in step and "seconds" in step]
    if record.training is None or len(steps) < 2:  # noqa: PLR2004 - a first step and one to count
        return record
    first, last = steps[0], steps[-1]
    seconds = float(last["seconds"]) - float(first["seconds"])
    tokens = float(last["tokens"]) - float(first["tokens"])
    rate = tokens / seconds if seconds > 0 else record.training.tokens_per_second
    training = record.training.model_copy(update={"tokens_per_second": rate})
    return record.model_copy(update={"training": training})
