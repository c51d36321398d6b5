"""What one MLflow store has been told: the outbox is every record on disk that the ledger does not name.

Records on disk are the truth, so nothing is queued: a record that was written and not delivered is found by looking.
A ledger belongs to one store; pointing a study at another server delivers everything there.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.outside import parse_json
from sweep.addresses import masked
from sweep.store import RunDirectory, TrialDirectory, write_json, write_text

RECORD_PATTERNS = ("baseline/record.json", "search/*/*/record.json", "confirm/baseline/record.json")
SEED_PATTERN = "confirm/*/seed-*/record.json"
STUDY = "study"
"""Key of the study's own run; no trial's directory is called so."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that the store has not been told."""

    key: str
    """The trial's directory, relative to the run directory."""
    directory: TrialDirectory
    sha256: str
    """Fingerprint of the record's file: a trial that was redone has a new one."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Delivered records of one study, by the store they went to."""

    run: RunDirectory
    store_uri: str

    @property
    def path(self) -> Path:
        """The ledger's file, named by the store's fingerprint; from one with a password, that could be guessed."""
        fingerprint = hashlib.sha256(masked(self.store_uri).encode()).hexdigest()[:12]
        return tracking_directory(self.run) / f"delivered-{fingerprint}.json"

    def pending(self) -> list[Pending]:
        """Every record on disk that this store has not been told, the baseline first."""
        delivered = self.read()
        paths = [path for pattern in (*RECORD_PATTERNS, SEED_PATTERN) for path in sorted(self.run.path.glob(pattern))]
        found = [
            Pending(
                path.parent.relative_to(self.run.path).as_posix(),
                TrialDirectory(path.parent),
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in paths
        ]
        return [item for item in found if delivered.get(item.key) != item.sha256]

    def add(self, item: Pending) -> None:
        """Note that a record was delivered."""
        write_json(self.path, {**self.read(), item.key: item.sha256})

    def set_study(self, status: str | None) -> None:
        """Note how the study's own run was ended, or that it is open."""
        others = {key: value for key, value in self.read().items() if key != STUDY}
        write_json(self.path, others if status is None else {**others, STUDY: status})

    @property
    def is_settled(self) -> bool:
        """Whether the store has been told everything, the study's end included."""
        return self.read().get(STUDY) == "FINISHED" and not self.pending()

    def forget(self) -> None:
        """Start over, for a store that knows nothing of this study."""
        self.path.unlink(missing_ok=True)

    def read(self) -> Mapping[str, str]:
        """Fingerprint of each delivered record by its key; a damaged ledger is empty, as sending twice is harmless."""
        try:
            value = parse_json(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


def tracking_directory(run: RunDirectory) -> Path:
    """Where tracking keeps its own files."""
    return run.path / "tracking"


def study_id(run: RunDirectory) -> str:
    """Identity of this run directory in any store, made on first use: two run directories may share a study's name."""
    path = tracking_directory(run) / "study_id"
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    return path.read_text("utf-8").strip()
