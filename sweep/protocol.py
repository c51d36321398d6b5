"""What the driver and a worker say to each other, wherever the worker is: frozen values that can be pickled.

A worker answers each request with exactly one of `Prepared`, `Finished`, `Refused` or `Crashed`; before that it may
report rungs, each answered by a `Verdict`, and losses and progress, which nobody answers. Trials that are run together
are told apart by their places: each message about one of them comes in a `Placed`, a place that is free is offered by
`SeatsFree` and answered by `Seated`, and `Emptied` ends the request. `Died` never crosses a pipe: a pool says it of a
worker that will not answer any more. Reading a message needs no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep.config import TrialConfig
from sweep.easing import Easing
from sweep.progress import Progress
from sweep.record import TrialRecord
from sweep.shape import Facts
from sweep.spec import DataSpec


@dataclass(frozen=True, slots=True)
class PrepareData:
    """Split and tokenize the user's rows, or find that done."""

    model: ModelSpec
    data: DataSpec
    data_root: Path
    max_length: int
    """Longest row in tokens."""
    directory: Path
    """Where prepared rows are kept, by their content."""
    seed: int
    """The study's seed: the split is the same for every trial, whatever its own seed."""
    search_tasks: tuple[TaskSpec, ...] = ()
    """What trials are chosen by."""
    confirm_tasks: tuple[TaskSpec, ...] = ()
    """What finalists are scored on. A task of either that cannot be asked is refused now, not after the search."""
    scoring: ScoringSpec = field(default_factory=ScoringSpec)
    """How they are scored."""
    hub: Path | None = None
    """Directory that data sets of the Hub are read from; none to fetch them."""


@dataclass(frozen=True, slots=True)
class RunTrial:
    """Train and score one trial."""

    config: TrialConfig
    directory: Path
    """The trial's directory."""
    data: PrepareData
    """Its rows, which are prepared already."""
    save_seconds: float | None = None
    """Wall time between saves of its training state, from which it goes on after an interruption; none saves none."""
    easing: Easing | None = None
    """With what less than its config asks for it is trained."""
    memory_bytes: float | None = None
    """Device memory that it is expected to need; none where that is not known."""


@dataclass(frozen=True, slots=True)
class RunTogether:
    """Train trials over one base model at the same time, and score them together."""

    trials: tuple[RunTrial, ...]
    """The first of them, by their places from 0; their configs share a base model, rows and tasks."""
    seats: int
    """Most that are trained at the same time."""


Request = PrepareData | RunTrial | RunTogether


@dataclass(frozen=True, slots=True)
class Seated:
    """The driver's answer to free seats: trials for the next places, as many as there are or none."""

    trials: tuple[RunTrial, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The driver's answer to a rung."""

    prune: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has imported what it needs; a trial's deadline counts from here."""

    pid: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows are ready."""

    rows: Mapping[str, int]
    """Rows by split."""
    sha256: Mapping[str, str]
    """Fingerprint of each split."""
    dropped: tuple[str, ...]
    """Rows that do not fit, each with its reason."""
    environment: Mapping[str, str]
    """Versions and hardware that the worker sees."""
    facts: Facts | None = None
    """What memory can be reckoned from, so that configs that cannot fit are not tried."""
    seconds: float = 0.0
    """Wall time that preparing took: rows and benchmarks."""


@dataclass(frozen=True, slots=True)
class RungReached:
    """A validation loss was taken; the worker waits for a `Verdict`."""

    rung: int
    """Counted from 1."""
    validation_loss: float


@dataclass(frozen=True, slots=True)
class LossTaken:
    """A validation loss was taken that will be judged as soon as those of all trials at rungs are known."""

    rung: int
    """Counted from 1."""
    validation_loss: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """A sign of life."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """The trial has ended, one way or another."""

    record: TrialRecord


@dataclass(frozen=True, slots=True)
class Refused:
    """The user's input cannot be used: an InputError, by the name of its class."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """A bug: the request raised something that nobody expected. The worker lives on."""

    message: str
    traceback: str
    kind: Literal["error", "out_of_memory"] = "error"
    """Memory may run out where no trial is at work."""


@dataclass(frozen=True, slots=True)
class Died:
    """The worker has ended, or was ended because it ran far past its deadline."""

    kind: Literal["worker_died", "deadline", "out_of_memory", "lost"]
    """`lost` is a worker that is gone with its machine or the way to it, which says nothing about the job."""
    message: str


@dataclass(frozen=True, slots=True)
class SeatsFree:
    """Trials that are run together have left seats free; the worker waits for a `Seated`."""

    count: int


@dataclass(frozen=True, slots=True)
class Emptied:
    """The last of the trials that were run together has ended."""


Answer = Prepared | Finished | Refused | Crashed | Died
"""What ends a request."""
Message = LossTaken | RungReached | Progressed | SeatsFree | Answer


@dataclass(frozen=True, slots=True)
class Placed:
    """A message about one of the trials that are run together."""

    place: int
    message: LossTaken | RungReached | Progressed | Finished


@dataclass(frozen=True, slots=True)
class Report:
    """A message, and the job that it is about; free seats are reported of the first job of those run together."""

    job: int
    message: Message


class Runner(Protocol):
    """What does the work inside a worker. One lives as long as its worker and may keep things between requests."""

    def prepare(self, request: PrepareData) -> Prepared:
        """Prepare the user's rows. Raises InputError where that is impossible."""

    def run(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        """Run one trial to its record, whatever comes of it. Raises InputError where no trial could run."""

    def run_together(self, request: RunTogether, floor: "Floor") -> None:
        """Run trials to their records, and those that are given for free seats. Raises as `run` does."""

    def ask_to_stop(self) -> bool:
        """Have the trials that are being trained save their state and end in KeyboardInterrupt soon.

        Asked from a signal handler or another thread. Gives whether there is any state to wait for.
        """


class Floor(Protocol):
    """What a runner says about trials that it runs together, by their places."""

    def on_loss(self, place: int, rung: int, validation_loss: float) -> None:
        """A validation loss. Of trials that come to rungs together all losses are told before any is judged."""

    def on_rung(self, place: int, rung: int, validation_loss: float) -> bool:
        """Whether to end the trial here."""

    def on_progress(self, place: int, progress: Progress) -> None:
        """A sign of life."""

    def finished(self, place: int, record: TrialRecord) -> None:
        """A trial has ended, one way or another."""

    def more(self, count: int) -> Sequence[RunTrial]:
        """Trials for free seats, at most so many; they take the next places."""


class Pool(Protocol):
    """Where workers are."""

    @property
    def has_room(self) -> bool:
        """Whether a job can be handed in now."""

    def submit(self, request: Request, *, deadline_seconds: float | None = None) -> int:
        """Hand in a job and give its number."""

    def submit_together(self, request: RunTogether, *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Hand in trials to be run together; each is a job of its own."""

    def seat(self, job: int, trials: Sequence[RunTrial], *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Answer free seats, reported of `job`. Gives the new jobs, or nothing where the worker is gone."""

    def wait(self, timeout_seconds: float) -> Sequence[Report]:
        """What has come in, waiting a bounded time for the first."""

    def reply(self, job: int, verdict: Verdict) -> None:
        """Answer a rung."""

    def largest(self, facts: Facts) -> Facts:
        """The facts with the largest device that a worker may have."""

    def close(self) -> None:
        """End all workers, whatever they are doing."""
