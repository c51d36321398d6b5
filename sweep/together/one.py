"""A trial that began in a lane and goes on alone stays in a lane: elsewhere its sums would be rounded otherwise."""

from collections.abc import Callable, Sequence

from sweep.progress import Progress
from sweep.protocol import RunTrial
from sweep.record import TrialRecord


class OneSeat:
    """The floor of a wave that is one trial: what is said of its only place is said of the trial."""

    def __init__(self, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]) -> None:
        self._on_rung = on_rung
        self._on_progress = on_progress
        self.record: TrialRecord | None = None

    def on_rung(self, _place: int, rung: int, validation_loss: float) -> bool:
        """Whether to end the trial here."""
        return self._on_rung(rung, validation_loss)

    def on_loss(self, _place: int, _rung: int, _validation_loss: float) -> None:
        """Nobody else is judged by it."""

    def on_progress(self, _place: int, progress: Progress) -> None:
        """A sign of life."""
        self._on_progress(progress)

    def finished(self, _place: int, record: TrialRecord) -> None:
        """The trial has ended."""
        self.record = record

    def more(self, _count: int) -> Sequence[RunTrial]:
        """Nobody is to sit beside it."""
        return ()
