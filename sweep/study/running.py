"""A trial in a worker's hands, and what a worker's last words about it mean."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from evals.errors import InputError, RunError
from sweep.config import TrialConfig
from sweep.disk import disk_error
from sweep.easing import Easing
from sweep.errors import INPUT_ERRORS, DiskError
from sweep.protocol import Crashed, Died, Message, Refused
from sweep.record import Failure, FailureKind, TrialRecord
from sweep.store import TrialDirectory, trained_tokens


@dataclass(slots=True)
class RunningTrial:
    """A trial in a worker's hands."""

    config: TrialConfig
    directory: TrialDirectory
    together: int = 1
    """Most trials that are run at the same time on its device."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    easing: Easing | None = None
    """With what less than its config asks for it was started."""
    is_scored: bool = False
    """Whether it has been trained and is being scored."""

    @property
    def name(self) -> str:
        """For a person: method and number."""
        return f"{self.config.method} {self.config.number}"

    def eased(self, record: TrialRecord) -> TrialRecord:
        """A worker's record of it, with what it was started with."""
        return record if self.easing is None else record.model_copy(update={"easing": self.easing})

    def failed(self, kind: FailureKind, message: str, traceback: str | None = None) -> TrialRecord:
        """The record of a trial whose worker left none."""
        return TrialRecord(
            config=self.config,
            config_fingerprint=self.config.fingerprint(),
            state="FAIL",
            failure=Failure(kind=kind, message=message, traceback=traceback),
            easing=self.easing,
            tokens=trained_tokens(self.directory),
            started_at=self.started_at,
            seconds_total=time.monotonic() - self.started,
        )


def saved_at(directory: TrialDirectory) -> int | None:
    """When a trial's training state was saved, by its file; none where there is none."""
    try:
        return directory.training_state.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def deadline_of(configs: Sequence[TrialConfig], together: int) -> float | None:
    """When a worker that runs trials together is late: each takes as many times longer as there are others."""
    given = [config.deadline_seconds for config in configs if config.deadline_seconds is not None]
    return max(given) * together if given else None


def error_of(message: Message, place: Path) -> Exception:
    """What to raise where a worker gave no answer; `place` is the run directory."""
    if isinstance(message, Refused) and message.error == DiskError.__name__:
        return disk_error(place, message.message)
    if isinstance(message, Refused):
        return INPUT_ERRORS.get(message.error, InputError)(message.message)
    if isinstance(message, Died):
        return RunError(message.message)
    if isinstance(message, Crashed) and message.kind == "out_of_memory":
        return RunError(f"a worker ran out of memory before any trial was at work in it: {message.message}.")
    if isinstance(message, Crashed):
        return RuntimeError(f"a worker raised an error that nobody expected.\n{message.traceback}")
    return RuntimeError(f"a worker sent {type(message).__name__} where it was not expected.")
