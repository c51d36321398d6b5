"""What a dispatcher stands between: where trials come from, and who is told of them."""

from typing import Literal, Protocol

from sweep.config import TrialConfig
from sweep.record import TrialRecord
from sweep.store import TrialDirectory


class TrialTracker(Protocol):
    """Logs a study somewhere; never raises, never waits long."""

    def start(self) -> None:
        """Begin."""

    def log(self, record: TrialRecord, directory: TrialDirectory) -> None:
        """Log a record that has been written."""

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End the study's run."""


class TrialSource(Protocol):
    """Decides what is run, and hears what came of it."""

    def next_trial(
        self, beside: TrialConfig | None = None, *, refill: bool = False
    ) -> TrialConfig | TrialRecord | None:
        """The next trial to run, or the record of one that need not be; None when nothing can be started now.

        With `beside`, one that can be run together with that trial, from the start or on a seat that became free.
        """

    def note_loss(self, config: TrialConfig, rung: int, validation_loss: float) -> None:
        """Hear of a running trial's validation loss, by which others may be judged before it is itself."""

    def judge_rung(self, config: TrialConfig, rung: int, validation_loss: float) -> bool:
        """Whether to end a running trial."""

    def judge(self, record: TrialRecord) -> TrialRecord:
        """Fill in what the worker could not know: the objective."""

    def take(self, record: TrialRecord) -> None:
        """Hear of a record that is on disk."""

    def put_back(self, config: TrialConfig) -> None:
        """Take back a trial that was interrupted."""
