"""Who is doing what right now, in one small file of the run directory, for `sweep status`.

The driver writes it every few seconds while it runs and removes it when it ends; of a driver that was killed it is left
behind, so a reader is told how old it is. Like events it is for eyes only: nothing is decided from it.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from evals.outside import read_outside
from sweep.files import write_json

NAME = "workers.json"
MAX_BYTES = 64 * 2**20
"""No board comes near."""
FRESH_SECONDS = 60.0
"""Age from which a board may be that of a driver that is gone."""


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker."""

    number: int
    """Names its log, `worker-N.log`."""
    place: str
    """Its machine."""
    device: str
    doing: str
    """Its trials and how far they are, or what it waits for."""
    seconds: float
    """Wall time that it has been at it."""


@dataclass(frozen=True, slots=True)
class Board:
    """All workers of a study."""

    written_at: float
    """Seconds since 1970."""
    workers: tuple[WorkerLine, ...]

    @property
    def age_seconds(self) -> float:
        """How long ago it was written."""
        return max(0.0, time.time() - self.written_at)


def write_board(run: Path, workers: Sequence[WorkerLine]) -> None:
    """Write the board of a run."""
    write_json(run / NAME, asdict(Board(time.time(), tuple(workers))))


def read_board(run: Path) -> Board | None:
    """The board of a run, or None where no driver is at work or it cannot be read."""
    try:
        return TypeAdapter(Board).validate_json(read_outside(run / NAME, MAX_BYTES))
    except (OSError, ValidationError):
        return None


def remove_board(run: Path) -> None:
    """Take the board away."""
    (run / NAME).unlink(missing_ok=True)
