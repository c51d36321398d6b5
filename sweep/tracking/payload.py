"""What MLflow is told about one trial, as plain values.

MLflow is particular: names of metrics and params allow few characters, params never change, and one metric point is
told from another by its key, step, time and value. Times are therefore derived from the record and never from the
clock: sending a record twice leaves what sending it once does.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.outside import parse_json
from sweep.easing import described
from sweep.record import TrialRecord
from sweep.spec import ParamValue, ReportSpec
from sweep.store import TrialDirectory

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

MAX_PARAM_CHARACTERS = 6_000
MAX_TAG_CHARACTERS = 8_000
MAX_DIGEST_CHARACTERS = 36
MAX_ARTIFACT_BYTES = 200_000_000
HOUR_SECONDS = 3600

# A pruned trial was ended on purpose, as an interrupted one was; only what went wrong counts as failed.
STATUS_OF_STATE: Mapping[str, RunStatus] = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
SPLITS = frozenset({"train", "validation", "test"})
NOT_A_STEP_METRIC = frozenset({"step", "epoch", "rung", "seconds"})


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """Rows that a trial read, named by their fingerprint."""

    name: str
    digest: str
    split: str
    source: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file, and the folder of the run's artifacts that it goes to."""

    path: Path
    folder: str | None


@dataclass(frozen=True, slots=True)
class Payload:
    """One trial as an MLflow run."""

    name: str
    status: RunStatus
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    points: tuple[Point, ...]
    tags: Mapping[str, str]
    data_sets: tuple[DataSet, ...]
    artifacts: tuple[Artifact, ...]


def describe(record: TrialRecord, directory: TrialDirectory, report: ReportSpec | None = None) -> Payload:
    """Turn a record and the files beside it into what MLflow is told; `report` has the price of an hour."""
    start_ms = int(record.started_at.timestamp() * 1000)
    end_ms = start_ms + int(record.elapsed_seconds * 1000)
    artifacts, skipped = _artifacts(directory)
    return Payload(
        name=run_name(record),
        status=status(record),
        start_ms=start_ms,
        end_ms=end_ms,
        params=_params(record),
        points=(*_step_points(directory.steps, start_ms), *_final_points(record, end_ms, report)),
        tags=_tags(record) | ({"sweep.skipped_artifacts": ", ".join(skipped)} if skipped else {}),
        data_sets=_data_sets(record),
        artifacts=artifacts,
    )


def run_name(record: TrialRecord) -> str:
    """What a person calls this trial."""
    config = record.config
    if config.method is None:
        return f"baseline on {config.split}"
    return f"{config.method} {'trial' if config.phase == 'search' else 'seed'} {config.number}"


def status(record: TrialRecord) -> RunStatus:
    """MLflow's status for a trial's state."""
    if record.failure is not None and record.failure.kind == "interrupted":
        return "KILLED"
    return STATUS_OF_STATE[record.state]


def safe_key(name: str) -> str:
    """The name with every character that MLflow refuses replaced, readable still.

    `gsm8k/exact_match,strict-match` becomes `gsm8k/exact_match.strict-match`.
    """
    return re.sub(r"[^/\w.\- ]", "_", name.replace(",", "."))


def _params(record: TrialRecord) -> dict[str, str]:
    config = record.config
    params: dict[str, ParamValue] = {"seed": config.seed, "split": config.split}
    if config.method_spec is not None:
        params |= {"method": config.method, "learning_rate": config.method_spec.training.learning_rate}
        params |= {} if config.method_spec.peft is None else {"lora_r": config.method_spec.peft.lora_r}
    params |= dict(config.params)
    return {safe_key(key): _text(value)[:MAX_PARAM_CHARACTERS] for key, value in params.items()}


def _text(value: ParamValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tags(record: TrialRecord) -> dict[str, str]:
    config = record.config
    tags = {"sweep.phase": config.phase, "sweep.number": str(config.number), "sweep.state": record.state}
    tags |= {} if config.method is None else {"sweep.method": config.method}
    tags |= {} if record.reused_from is None else {"sweep.reused_from": str(record.reused_from)}
    if record.failure is not None:
        tags |= {"sweep.failure_kind": record.failure.kind, "sweep.failure_message": record.failure.message}
    if record.easing is not None:
        tags |= {"sweep.easing": described(record.easing, config), "sweep.easing_why": " ".join(record.easing.why)}
    if record.training is not None:
        tags |= {"sweep.initial_sha256": record.training.initial_sha256, "sweep.optim": record.training.optim}
        if record.training.nondeterminism is not None:
            tags |= {"sweep.nondeterminism": record.training.nondeterminism}
    tags |= {f"environment.{safe_key(key)}": value for key, value in record.environment.items()}
    return {key: value[:MAX_TAG_CHARACTERS] for key, value in tags.items()}


def _step_points(steps: Path, start_ms: int) -> Iterator[Point]:
    seconds = 0.0
    for place, row in enumerate(read_steps(steps)):
        # A validation's line has no time of its own: it follows the step before it.
        now = row.get("seconds", seconds)
        seconds = now if math.isfinite(now) else seconds
        for key, value in row.items():
            if key not in NOT_A_STEP_METRIC:
                yield Point(safe_key(key), value, start_ms + int(seconds * 1000), _step_of(row, place))


def _step_of(row: Mapping[str, float], place: int) -> int:
    step = row.get("step", place)
    return int(step) if math.isfinite(step) else place


def read_steps(steps: Path) -> Iterator[dict[str, float]]:
    """The numbers of each line of `steps.jsonl`; a line that a kill cut short is left out."""
    if not steps.is_file():
        return
    for line in steps.read_text("utf-8", errors="replace").splitlines():
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield {key: float(value) for key, value in row.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return True
    # An integer may be beyond all floats.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _final_points(record: TrialRecord, end_ms: int, report: ReportSpec | None) -> Iterator[Point]:
    last_step = 0 if record.training is None else record.training.optimizer_steps
    for key, value in (_final_values(record) | _cost_values(record, report)).items():
        if value is not None and not math.isinf(value):
            yield Point(safe_key(key), float(value), end_ms, last_step)


def _final_values(record: TrialRecord) -> dict[str, float | None]:
    values: dict[str, float | None] = {"objective": record.objective, "seconds_total": record.seconds_total}
    values |= {f"seconds/{part}": seconds for part, seconds in record.seconds.items()}
    if record.memory is not None:
        values |= {"memory/host_bytes": record.memory.host_bytes, "memory/device_bytes": record.memory.device_bytes}
    if record.training is not None:
        numbers = record.training.model_dump(exclude={"initial_sha256", "final_sha256", "optim", "nondeterminism"})
        values |= {f"training/{key}": value for key, value in numbers.items()}
        values |= {
            "training/trainable_share": record.training.trainable_share,
            "training/estimated_flops": record.training.estimated_flops,
            "training/computed_flops": record.training.computed_flops,
        }
    if record.evaluation is not None:
        for name, metric in record.evaluation.metrics.items():
            values |= {name: metric.value, f"{name}.stderr": metric.stderr}
    return values


def _cost_values(record: TrialRecord, report: ReportSpec | None) -> dict[str, float | None]:
    """Energy, where the machine told it, and money, where an hour has a price: each with its unit in the name."""
    device, sharing = record.device, record.sharing
    values: dict[str, float | None] = {"elapsed_seconds": record.elapsed_seconds}
    if device is not None:
        values |= {"device/energy_joules": device.energy_joules, "device/count": device.count}
    if sharing is not None:
        values |= {"sharing/lanes": sharing.lanes}
    if report is not None and report.price_per_hour is not None and record.was_run:
        price_per_second = report.price_per_hour / HOUR_SECONDS * (1 if device is None else device.count)
        values |= {f"cost/trial_{report.currency}": record.seconds_total * price_per_second}
        if "train" in record.seconds:
            values |= {f"cost/train_{report.currency}": record.seconds["train"] * price_per_second}
    return values


def _data_sets(record: TrialRecord) -> tuple[DataSet, ...]:
    data = record.config.data
    # A split that is a share of the training file has no file of its own.
    files = {"validation": data.validation, "test": data.test}
    sources = {split: file for split, file in files.items() if isinstance(file, str)}
    return tuple(
        DataSet(f"{Path(source).name} {split}", digest[:MAX_DIGEST_CHARACTERS], split, source)
        for split, digest in sorted(record.data_sha256.items())
        if split in SPLITS
        for source in (sources.get(split, data.train),)
    )


def _artifacts(directory: TrialDirectory) -> tuple[tuple[Artifact, ...], list[str]]:
    # What a link leads to is not the trial's.
    top = [Artifact(path, None) for path in (directory.config, directory.record, directory.steps) if _is_own(path)]
    below = [
        Artifact(path, path.parent.relative_to(directory.path).as_posix())
        for folder in (directory.eval, directory.checkpoint)
        if not folder.is_symlink()
        for path in sorted(folder.rglob("*"))
        if _is_own(path)
    ]
    kept = tuple(artifact for artifact in (*top, *below) if artifact.path.stat().st_size <= MAX_ARTIFACT_BYTES)
    skipped = [a.path.relative_to(directory.path).as_posix() for a in (*top, *below) if a not in kept]
    return kept, skipped


def _is_own(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
