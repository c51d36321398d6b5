"""How long a study takes, from trials that ran: an earlier run's records, or a probe's.

Nothing is derived from a device's peak rate. Where no trial of the same model, kind of method and device has run, the
time is unknown, and the plan says how to find out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from evals.spec import RENDERED_TASKS, ModelSpec, TaskSpec
from sweep.errors import RunDirectoryError
from sweep.method_rules import is_four_bit
from sweep.plan.ranges import Range, total
from sweep.plan.result import PhaseHours, PhaseWork
from sweep.record import TrialRecord
from sweep.shape import Device, RowLengths
from sweep.spec import MethodSpec
from sweep.store import read_record

FORWARD_SHARE = 1 / 3
"""A forward pass alone takes about a third of forward and backward together, where no validation was timed."""
VARIES = (0.85, 1.2)
"""The same work takes so much less or more time, by what was seen on one machine."""
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What work takes, in seconds: medians over the trials that were looked at."""

    trials: int
    """Trials that tell."""
    train_token: float | None = None
    read_token: float | None = None
    """A token of a validation pass or of scoring a loss."""
    fixed: float = 0.0
    """Loading, saving, and what scoring takes beside its tasks."""
    items: Mapping[str, float] = field(default_factory=dict)
    """One item by task; of the user's own rows, with a generated answer."""


def earlier_records(runs: Path, model: ModelSpec, device: Device) -> list[TrialRecord]:
    """Records of all run directories below `runs` that ran this model on such a device."""
    found = []
    # MLflow keeps a copy of each record beside the run directories.
    directories = sorted(path.parent for path in runs.glob("*/study.yaml"))
    for path in (record for directory in directories for record in sorted(directory.glob("**/record.json"))):
        try:
            record = read_record(path)
        except RunDirectoryError:
            continue
        if record.reused_from is None and _same_model(record.config.model, model) and ran_on(record, device):
            found.append(record)
    return found


def ran_on(record: TrialRecord, device: Device) -> bool:
    """Whether a record was made on such a device."""
    gpu = record.environment.get("gpu", "none")
    if device.kind == "cuda":
        # `2 x NVIDIA L4, 1 x NVIDIA T4`. One name may be another's beginning.
        return device.name in {part.partition(" x ")[2] for part in gpu.split(", ")}
    return gpu in {"", "none"} and record.environment.get("cpu") == device.name


def rates_of(
    records: Sequence[TrialRecord], method: MethodSpec | None, validation: Mapping[str, RowLengths]
) -> Rates | None:
    """Rates of a kind of method, or of the base model; none where no record tells.

    `validation` is how long the rows of validation splits are, by their fingerprint.
    """
    alike = [record for record in records if are_alike(record.trained_method, method)]
    if not alike:
        return None
    train = [1 / r.training.tokens_per_second for r in alike if r.training and r.training.tokens_per_second > 0]
    if method is not None and not train:
        return None
    return Rates(
        trials=len(alike),
        train_token=median(train) if train else None,
        read_token=_median([value for record in alike for value in _read_token(record, validation)]),
        fixed=_median([_fixed(record) for record in alike if record.state == "COMPLETE"]) or 0.0,
        items=item_seconds(alike),
    )


def item_seconds(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Seconds of one item by task."""
    seen: dict[str, list[float]] = {}
    for record in records:
        if record.evaluation is None:
            continue
        generates = {task.task for task in record.config.tasks if _generates(task)}
        for task, seconds in record.evaluation.seconds.items():
            items = items_scored(record).get(task)
            if items and task in generates:
                seen.setdefault(task, []).append(seconds / items)
    return {task: median(values) for task, values in seen.items()}


def items_scored(record: TrialRecord) -> dict[str, int]:
    """Items by task, as a record's scores count them."""
    counts: dict[str, int] = {}
    for name, metric in ({} if record.evaluation is None else record.evaluation.metrics).items():
        task = name.partition("/")[0]
        counts[task] = max(counts.get(task, 0), metric.n)
    return counts


def phase_hours(work: PhaseWork, tasks: Sequence[TaskSpec], rates: Rates | None) -> PhaseHours:
    """Time that a method's phase takes on one device."""
    unknown = PhaseHours(work.phase, work.method, None, tuple(work.scoring.items))
    if rates is None or (work.trial_tokens.high > 0 and rates.train_token is None):
        return unknown
    train = rates.train_token or 0.0
    read = rates.read_token or train * FORWARD_SHARE
    scoring, untimed = 0.0, []
    for task in tasks:
        items = work.scoring.items.get(task.task)
        if task.task in RENDERED_TASKS and not _generates(task):
            scoring += read * work.scoring.read_tokens.expected
        elif items is None or task.task not in rates.items:
            untimed.append(task.task)
        else:
            scoring += items * rates.items[task.task]
    seconds = _sum(work, train=train, read=read, scoring=scoring, fixed=rates.fixed)
    if seconds is None:
        return unknown
    low, high = VARIES
    hours = Range(seconds.low * low / HOUR, seconds.expected / HOUR, seconds.high * high / HOUR)
    return PhaseHours(work.phase, work.method, hours, tuple(untimed))


def _sum(work: PhaseWork, *, train: float, read: float, scoring: float, fixed: float) -> Range | None:
    parts = (
        (work.train_tokens, train),
        (work.validation_tokens, read),
        (work.scored, scoring),
        (work.trials, fixed),
    )
    known = [amount * seconds for amount, seconds in parts if amount is not None]
    return total(known) if len(known) == len(parts) else None


def _generates(task: TaskSpec) -> bool:
    return task.generate or task.task not in RENDERED_TASKS


def _same_model(one: ModelSpec, other: ModelSpec) -> bool:
    names = ("model_name_or_path", "revision", "gguf_file", "dtype")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def are_alike(one: MethodSpec | None, other: MethodSpec | None) -> bool:
    """Whether two methods take about the same time for a token."""
    if one is None or other is None:
        return one is other
    return (
        one.kind == other.kind
        and is_four_bit(one) == is_four_bit(other)
        and one.training.gradient_checkpointing == other.training.gradient_checkpointing
    )


def _read_token(record: TrialRecord, validation: Mapping[str, RowLengths]) -> Iterator[float]:
    lengths, method = validation.get(record.data_sha256.get("validation", "")), record.config.method_spec
    if lengths is None or method is None:
        return
    tokens = lengths.tokens_of(method.training.validation_rows)
    passes = len(record.intermediate)
    if tokens and passes and record.seconds.get("validate"):
        yield record.seconds["validate"] / passes / tokens


def _fixed(record: TrialRecord) -> float:
    tasks = 0.0 if record.evaluation is None else sum(record.evaluation.seconds.values())
    asked = tasks * record.config.repeat
    beside = max(0.0, record.seconds.get("score", 0.0) - asked)
    parts = record.seconds.get("load", 0.0) + record.seconds.get("save", 0.0) + beside
    # A trial also hashes its weights, writes files and frees memory, of which only its total tells.
    rest = record.seconds_total - record.seconds.get("train", 0.0) - record.seconds.get("validate", 0.0) - asked
    return max(parts, rest)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
