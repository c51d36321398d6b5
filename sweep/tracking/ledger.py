"""What one MLflow store has been told: the outbox is every record on disk that the ledger does not name.

Records on disk are the truth, so nothing is queued: a record that was written and not delivered is found by looking.
A ledger belongs to one store; pointing a study at another server delivers everything there. It grows by a line for each
delivery, so that the thousandth costs what the first does; a line that a kill cut short counts as not written.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.outside import parse_json
from sweep.addresses import masked
from sweep.files import write_text
from sweep.store import RunDirectory, TrialDirectory

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
        return tracking_directory(self.run) / f"delivered-{fingerprint}.jsonl"

    def pending(self) -> list[Pending]:
        """Every record on disk that this store has not been told, the baseline first."""
        delivered = self.read()
        paths = [path for pattern in (*RECORD_PATTERNS, SEED_PATTERN) for path in sorted(self.run.path.glob(pattern))]
        found = [self._item(path) for path in paths]
        return [item for item in found if delivered.get(item.key) != item.sha256]

    def record_of(self, key: str) -> Pending | None:
        """The record of one trial's directory; None where there is none."""
        path = self.run.path / key / "record.json"
        return self._item(path) if path.is_file() else None

    def _item(self, path: Path) -> Pending:
        key = path.parent.relative_to(self.run.path).as_posix()
        return Pending(key, TrialDirectory(path.parent), hashlib.sha256(path.read_bytes()).hexdigest())

    def add(self, item: Pending) -> None:
        """Note that a record was delivered."""
        self._append(item.key, item.sha256)

    def set_study(self, status: str | None) -> None:
        """Note how the study's own run was ended, or that it is open."""
        self._append(STUDY, status)

    def _append(self, key: str, value: str | None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beginning on a line of its own, it cannot be taken for the rest of one that a kill cut short.
        line = "\n" + json.dumps({key: value}) + "\n"
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())

    @property
    def is_settled(self) -> bool:
        """Whether the store has been told everything, the study's end included."""
        return self.read().get(STUDY) == "FINISHED" and not self.pending()

    def forget(self) -> None:
        """Start over, for a store that knows nothing of this study."""
        self.path.unlink(missing_ok=True)

    def read(self) -> Mapping[str, str]:
        """Fingerprint of each delivered record by its key. A damaged line is left out: sending twice is harmless."""
        try:
            lines = self.path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        found: dict[str, str | None] = {}
        for value in map(_parsed, lines):
            found |= value
        return {key: value for key, value in found.items() if value is not None}


def _parsed(line: str) -> dict[str, str | None]:
    try:
        value = parse_json(line)
    except ValueError:
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
