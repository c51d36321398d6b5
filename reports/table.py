"""A run's records as pandas tables, for a notebook. Every value is one that a record or a sample file holds.

from reports import table
from sweep.store import RunDirectory

trials = table.trials(RunDirectory(Path("runs/tickets")))
trials.sort_values("objective").head()
"""

from collections.abc import Iterator

import pandas as pd

from evals.items import read_items
from reports.gather import Gathered, gather
from sweep.easing import described
from sweep.record import TrialRecord
from sweep.spec import ParamValue
from sweep.store import RunDirectory
from sweep.tracking.payload import read_steps

IDENTITY = ("trial", "phase", "method", "number")
"""Columns that every table begins with: the trial's directory, and what it is. The base model has no method."""

TRIAL_COLUMNS = (
    *IDENTITY,
    "seed",
    "state",
    "failure_kind",
    "failure_message",
    "reused_from",
    "split",
    "objective",
    "objective_stderr",
    "validation_loss",
    "train_loss",
    "optimizer_steps",
    "tokens",
    "tokens_per_second",
    "trainable_parameters",
    "total_parameters",
    "trainable_share",
    "training_flops",
    "checkpoint_bytes",
    "peak_host_bytes",
    "peak_device_bytes",
    "device",
    "devices",
    "energy_joules",
    "lanes",
    "resumed",
    "easing",
    "nondeterminism",
    "seconds_total",
    "elapsed_seconds",
    "started_at",
    "config_fingerprint",
)
STEP_COLUMNS = (*IDENTITY, "step")
ITEM_COLUMNS = (*IDENTITY, "split", "task", "filter", "doc_id", "doc_hash", "row", "group", "target", "answer")


def trials(run: RunDirectory) -> pd.DataFrame:
    """One row a trial: the base model, every search trial and every confirm seed.

    Columns are `TRIAL_COLUMNS`, then `params.KEY` for each searched key by its dotted name, `metrics.NAME` and
    `metrics.NAME.stderr` for each score, and `seconds.PART` for each timed part. Loss is in nats per token, sizes
    are in bytes, times in seconds; energy, in joules, is empty where the machine did not tell it, and `lanes` where the
    trial had its device to itself. `resumed` counts interruptions after which a trial went on from its saved training
    state, `easing` says with what less than its config asks for it was trained because memory ran out, and
    `nondeterminism` why the same config and seed need not give the same weights again. A column is empty where a trial
    has no such value.
    """
    gathered = gather(run)
    rows = [_trial_row(record, gathered) for record in gathered.records]
    return _frame(rows, TRIAL_COLUMNS)


def steps(run: RunDirectory) -> pd.DataFrame:
    """One row a training step or validation: `IDENTITY`, `step`, then every value logged there.

    Among them are loss and validation_loss in nats per token, learning_rate, grad_norm, and rung at a validation.
    """
    gathered = gather(run)
    rows = [
        _identity(record, gathered) | step
        for record in gathered.records
        for step in read_steps(gathered.directory(record).steps)
    ]
    return _frame(rows, STEP_COLUMNS)


def items(run: RunDirectory) -> pd.DataFrame:
    """One row an item, task, filter and trial: `ITEM_COLUMNS`, then `scores.NAME` for each metric of single items.

    Pair the items of two trials by task, filter and doc_hash.
    """
    gathered = gather(run)
    return _frame([row for record in gathered.records for row in _item_rows(record, gathered)], ITEM_COLUMNS)


def _trial_row(record: TrialRecord, gathered: Gathered) -> dict[str, object]:
    config, failure, training, memory = record.config, record.failure, record.training, record.memory
    device, sharing = record.device, record.sharing
    metrics = {} if record.evaluation is None else record.evaluation.metrics
    objective = metrics.get(gathered.spec.objective.metric)
    row = _identity(record, gathered) | {
        "seed": config.seed,
        "state": record.state,
        "failure_kind": None if failure is None else failure.kind,
        "failure_message": None if failure is None else failure.message,
        "reused_from": record.reused_from,
        "split": config.split,
        "objective": record.objective,
        "objective_stderr": None if objective is None or record.objective is None else objective.stderr,
        "peak_host_bytes": None if memory is None else memory.host_bytes,
        "peak_device_bytes": None if memory is None else memory.device_bytes,
        "device": None if device is None else device.name,
        "devices": None if device is None else device.count,
        "energy_joules": None if device is None else device.energy_joules,
        "lanes": None if sharing is None else sharing.lanes,
        "resumed": record.resumed,
        "easing": None if record.easing is None else described(record.easing, config),
        "seconds_total": record.seconds_total,
        "elapsed_seconds": record.elapsed_seconds,
        "started_at": record.started_at,
        "config_fingerprint": record.config_fingerprint,
    }
    if training is not None:
        row |= {name: value for name, value in training.model_dump().items() if name in TRIAL_COLUMNS}
        row |= {"trainable_share": training.trainable_share, "training_flops": training.estimated_flops}
    row |= {f"params.{name}": _cell(value) for name, value in config.params.items()}
    for name, metric in metrics.items():
        row |= {f"metrics.{name}": metric.value, f"metrics.{name}.stderr": metric.stderr}
    return row | {f"seconds.{part}": seconds for part, seconds in record.seconds.items()}


def _item_rows(record: TrialRecord, gathered: Gathered) -> Iterator[dict[str, object]]:
    for item in read_items(gathered.directory(record).eval):
        yield _identity(record, gathered) | {
            "split": record.config.split,
            "task": item.task,
            "filter": item.filter,
            "doc_id": item.doc_id,
            "doc_hash": item.doc_hash,
            "row": item.row,
            "group": item.group,
            "target": item.target,
            "answer": item.answer,
            **{f"scores.{name}": value for name, value in item.scores.items()},
        }


def _identity(record: TrialRecord, gathered: Gathered) -> dict[str, object]:
    config = record.config
    place = gathered.directory(record).path.relative_to(gathered.run.path).as_posix()
    return {"trial": place, "phase": config.phase, "method": config.method, "number": config.number}


def _cell(value: ParamValue) -> object:
    return ", ".join(value) if isinstance(value, tuple) else value


def _frame(rows: list[dict[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    """A table with the fixed columns first and the others in the order of their names, present even without rows."""
    others = sorted({name for row in rows for name in row} - set(columns))
    return pd.DataFrame(rows, columns=[*columns, *others])
