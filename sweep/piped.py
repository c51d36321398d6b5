"""What a worker says of its trials through the pipe to its driver, and how it waits for answers."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Literal

from sweep.disk import trouble
from sweep.errors import DiskError
from sweep.progress import Progress
from sweep.protocol import (
    Crashed,
    Finished,
    LossTaken,
    Message,
    Placed,
    Progressed,
    Refused,
    RungReached,
    RunTrial,
    Seated,
    SeatsFree,
    Verdict,
)
from sweep.record import TrialRecord
from sweep.secrets import hide_secrets

LOOK_SECONDS = 0.2
"""How often a worker that waits for its driver looks whether it is to end."""


class PipedFloor:
    """What is said about trials that are run together, through the pipe."""

    def __init__(self, driver: Connection, is_asked_to_end: Callable[[], bool]) -> None:
        self._driver = driver
        self._is_asked_to_end = is_asked_to_end

    def on_loss(self, place: int, rung: int, validation_loss: float) -> None:
        """A loss to judge others by."""
        self._driver.send(Placed(place, LossTaken(rung, validation_loss)))

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


def crash_of(error: Exception) -> Crashed | Refused:
    """What a worker says of an error that nobody expected."""
    if (reason := trouble(error)) is not None:
        return Refused(DiskError.__name__, reason)
    ran_out = isinstance(error, MemoryError)
    # Where torch has not been imported, its errors cannot be there.
    if "torch" in sys.modules:
        from evals.models.memory import is_out_of_memory

        ran_out = is_out_of_memory(error)
    said, trace = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
    kind: Literal["error", "out_of_memory"] = "out_of_memory" if ran_out else "error"
    return Crashed(hide_secrets(said, os.environ), hide_secrets(trace, os.environ), kind)
