"""What a worker says of its trials through the pipe to its driver, and how it waits for answers."""

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from sweep.progress import Progress
from sweep.protocol import Finished, Message, Placed, Progressed, RungReached, RunTrial, Seated, SeatsFree, Verdict
from sweep.record import TrialRecord

LOOK_SECONDS = 0.2
"""How often a worker that waits for its driver looks whether it is to end."""


class PipedFloor:
    """What is said about trials that are run together, through the pipe."""

    def __init__(self, driver: Connection, is_asked_to_end: Callable[[], bool]) -> None:
        self._driver = driver
        self._is_asked_to_end = is_asked_to_end

    def on_rung(self, place: int, rung: int, validation_loss: float) -> bool:
        """Whether to end the trial here."""
        return ask(self._driver, Placed(place, RungReached(rung, validation_loss)), self._is_asked_to_end)

    def on_progress(self, place: int, progress: Progress) -> None:
        """A sign of life."""
        self._driver.send(Placed(place, Progressed(progress)))

    def finished(self, place: int, record: TrialRecord) -> None:
        """A trial has ended."""
        self._driver.send(Placed(place, Finished(record)))

    def more(self, count: int) -> Sequence[RunTrial]:
        """Trials for free seats."""
        self._driver.send(SeatsFree(count))
        _await(self._driver, self._is_asked_to_end)
        seated: Seated = self._driver.recv()
        return seated.trials


def ask(driver: Connection, message: Message | Placed, is_asked_to_end: Callable[[], bool]) -> bool:
    """Send what has to be judged, and wait for the verdict. Raises KeyboardInterrupt where this process is to end."""
    driver.send(message)
    _await(driver, is_asked_to_end)
    verdict: Verdict = driver.recv()
    return verdict.prune


def _await(driver: Connection, is_asked_to_end: Callable[[], bool]) -> None:
    """Wait for the driver, unless it is waiting for this process to end. Raises KeyboardInterrupt then."""
    while not driver.poll(LOOK_SECONDS):
        if is_asked_to_end():
            raise KeyboardInterrupt
