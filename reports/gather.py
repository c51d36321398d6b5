"""Everything that a report is made of, read from a run directory once.

A record that cannot be read is named rather than raised: what is missing belongs in the report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.outside import parse_json, read_outside
from sweep.budget import Spending, total
from sweep.errors import RunDirectoryError
from sweep.record import TrialRecord
from sweep.spec import MethodSpec, StudySpec
from sweep.status import best_trial
from sweep.store import RunDirectory, TrialDirectory, read_record

MANIFEST = "prepared.json"


@dataclass(frozen=True, slots=True)
class MethodRecords:
    """What ran of one method."""

    name: str
    spec: MethodSpec
    search: tuple[TrialRecord, ...]
    """Ended trials, by number."""
    confirm: tuple[TrialRecord, ...]
    """Ended repetitions of the finalist, by number."""
    best: TrialRecord | None
    """The finalist: the best complete trial of the search."""

    @property
    def spending(self) -> Spending:
        """What the search has had of its budget; a reused config costs nothing."""
        return total(self.search)

    @property
    def spent(self) -> int:
        """Trials of the search that were run."""
        return self.spending.trials

    @property
    def scored(self) -> tuple[TrialRecord, ...]:
        """Repetitions that have scores."""
        return tuple(record for record in self.confirm if record.evaluation is not None)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is worth saying of the prepared rows."""

    rows: Mapping[str, int]
    """Rows by split."""
    dropped: int
    """Rows that did not fit."""
    leaks: Mapping[str, int]
    """Held-out rows that were seen before, by split."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """One run directory's records."""

    run: RunDirectory
    spec: StudySpec
    baseline: TrialRecord | None
    """The base model on the validation split."""
    confirm_baseline: TrialRecord | None
    """The base model on the test split."""
    methods: tuple[MethodRecords, ...]
    """In the study file's order."""
    unreadable: tuple[str, ...]
    """Complaints about records that could not be read."""
    environment: Mapping[str, str]
    """Versions and hardware."""
    data: DataFacts | None
    """The rows, as they were prepared."""
    prepare_seconds: float | None = None
    """Wall time of preparing them; none where the run directory does not say so."""

    @property
    def records(self) -> list[TrialRecord]:
        """Every record: the base model, then each method's search and confirm phase."""
        alone = [record for record in (self.baseline, self.confirm_baseline) if record is not None]
        return alone + [record for method in self.methods for record in (*method.search, *method.confirm)]

    @property
    def data_sha256(self) -> Mapping[str, str]:
        """Fingerprint of the rows of each split that a record names."""
        return {split: digest for record in self.records for split, digest in record.data_sha256.items()}

    def directory(self, record: TrialRecord) -> TrialDirectory:
        """Where a record's files are; those of a reused record are with the trial that ran."""
        return self.run.directory_of(record.config)


def gather(run: RunDirectory) -> Gathered:
    """Read all records of a run. Raises RunDirectoryError only where the directory holds no study."""
    spec = run.read_study()
    unreadable: list[str] = []
    baseline = _read_all([run.baseline.record], run, unreadable)
    confirm_baseline = _read_all([run.confirm_baseline.record], run, unreadable)
    methods = tuple(_gather_method(run, spec, name, unreadable) for name in spec.methods)
    records = [*baseline, *confirm_baseline, *(record for method in methods for record in method.search)]
    return Gathered(
        run=run,
        spec=spec,
        baseline=next(iter(baseline), None),
        confirm_baseline=next(iter(confirm_baseline), None),
        methods=methods,
        unreadable=tuple(unreadable),
        environment=_environment(run, records),
        data=_data(run, records),
        prepare_seconds=_prepare_seconds(run),
    )


def _gather_method(run: RunDirectory, spec: StudySpec, name: str, unreadable: list[str]) -> MethodRecords:
    search = _read_all((run.path / "search" / name).glob("*/record.json"), run, unreadable)
    confirm = _read_all((run.path / "confirm" / name).glob("seed-*/record.json"), run, unreadable)
    own = [record for record in search if record.reused_from is None]
    return MethodRecords(name, spec.methods[name], search, confirm, best_trial(own, spec))


def _read_all(paths: Iterable[Path], run: RunDirectory, unreadable: list[str]) -> tuple[TrialRecord, ...]:
    records = []
    for path in sorted(paths):
        if not path.is_file():
            continue
        try:
            records.append(read_record(path))
        except RunDirectoryError:
            unreadable.append(f"{path.relative_to(run.path).as_posix()} is not a record that this version can read.")
    return tuple(sorted(records, key=lambda record: record.config.number))


def _environment(run: RunDirectory, records: list[TrialRecord]) -> Mapping[str, str]:
    """What the run directory says of itself; failing that, what its first record says."""
    value = _begun_with(run)
    if value:
        return dict(_flat(value))
    return next((record.environment for record in records if record.environment), {})


def _prepare_seconds(run: RunDirectory) -> float | None:
    data = _begun_with(run).get("data")
    seconds = data.get("prepare_seconds") if isinstance(data, dict) else None
    return seconds if isinstance(seconds, float) else None


def _begun_with(run: RunDirectory) -> Mapping[str, object]:
    """Machine and data that the study began with; nothing where that cannot be read."""
    try:
        value = parse_json(read_outside(run.environment))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _flat(value: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, member in value.items():
        if isinstance(member, dict):
            yield from _flat(member, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", str(member)


def _data(run: RunDirectory, records: list[TrialRecord]) -> DataFacts | None:
    """Facts about the rows that the records name by fingerprint; older rows may lie beside them.

    The manifest is read as plain JSON: what reads it for training knows machine learning libraries.
    """
    wanted = next((record.data_sha256 for record in records if record.data_sha256), {})
    for path in sorted(run.data.glob(f"*/{MANIFEST}")):
        try:
            found = parse_json(read_outside(path))
            if wanted and wanted.items() <= found["sha256"].items():
                return DataFacts(found["rows"], len(found["dropped"]), found["leaks"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Not a manifest of this version; the report then has the fingerprints alone.
            continue
    return None
