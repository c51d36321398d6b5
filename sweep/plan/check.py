"""Were the estimates right? Each trial of a run, what it was estimated to need against what it used."""

from sweep.data.prepared import MANIFEST, PreparedData, read_prepared
from sweep.plan.memory import estimate
from sweep.plan.result import MemoryCheck
from sweep.record import TrialRecord
from sweep.shape import DeviceKind, ModelShape, RowLengths
from sweep.store import RunDirectory


def check_memory(run: RunDirectory, shape: ModelShape, rows: RowLengths) -> list[MemoryCheck]:
    """Trials of the search and the confirm phase that trained and have a peak, in their order."""
    spec = run.read_study()
    checks = []
    for method in spec.methods:
        for record in (*run.search_records(method), *run.confirm_records(method)):
            found = _check(run, record, shape, rows)
            if found is not None:
                checks.append(found)
    return checks


def prepared_of(run: RunDirectory) -> PreparedData | None:
    """The rows that a run's trials were trained on; none where they are not in it any more."""
    record = run.baseline.read_record()
    wanted = {} if record is None else record.data_sha256
    for path in sorted(run.data.glob(f"*/{MANIFEST}")):
        prepared = read_prepared(path.parent)
        if wanted and wanted.items() <= prepared.sha256.items():
            return prepared
    return None


def _check(run: RunDirectory, record: TrialRecord, shape: ModelShape, rows: RowLengths) -> MemoryCheck | None:
    config, memory, method = record.config, record.memory, record.trained_method
    if memory is None or record.training is None or record.reused_from is not None or method is None:
        return None
    if record.sharing is not None:
        # What several trials took together says nothing of one.
        return None
    kind: DeviceKind = "cpu" if memory.device_bytes is None else "cuda"
    return MemoryCheck(
        trial=run.directory_of(config).path.relative_to(run.path).as_posix(),
        method=config.method or "",
        estimate=estimate(config.model, method, shape, rows, kind),
        recorded_bytes=memory.host_bytes if memory.device_bytes is None else memory.device_bytes,
    )
