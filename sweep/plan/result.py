"""A plan as data: what a study will do, need and be able to show. Every number of it goes into `--json` as it is."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sweep.plan.memory import MemoryEstimate
from sweep.plan.ranges import Range, total
from sweep.shape import Device, RowLengths

Fit = Literal["fits", "likely", "unlikely", "some", "none"]
"""All configs fit whatever happens; as expected; not as expected; some cannot; none can."""


@dataclass(frozen=True, slots=True)
class ScoringWork:
    """What scoring one model once takes."""

    items: Mapping[str, int | None] = field(default_factory=dict)
    """Items by task; none where their number is not known here."""
    read_tokens: Range = field(default_factory=lambda: Range.exactly(0))
    """Tokens of the user's own rows that are read, shared beginnings counted each time."""
    written_tokens: Range = field(default_factory=lambda: Range.exactly(0))
    """Tokens that answers to them take."""
    loss_only: tuple[str, ...] = ()
    """Tasks that no answer is graded of, so that only a loss per token comes out."""


@dataclass(frozen=True, slots=True)
class PhaseWork:
    """What one method does in one phase."""

    phase: str
    method: str | None
    """None for the base model."""
    trials: Range | None
    """Trials that are run, or as many as a budget in tokens or hours is expected to hold; none where hours alone bound
    them and nothing tells how long one takes."""
    steps: Range
    """Optimizer steps of one trial."""
    trial_tokens: Range
    """Tokens that one trial trains on, run to its end."""
    train_tokens: Range | None
    """Tokens that all trials together train on; none where their number is not known."""
    validation_tokens: Range | None
    """Tokens read for validation losses; none as above."""
    scored: Range | None
    """Times that a model is scored; none as above."""
    scoring: ScoringWork
    """What one scoring takes."""


@dataclass(frozen=True, slots=True)
class MethodMemory:
    """What a method's configs need."""

    method: str
    least: MemoryEstimate
    own: MemoryEstimate
    """The study file's own settings."""
    most: MemoryEstimate
    most_params: dict[str, object]
    """What the search has to choose for the most."""


@dataclass(frozen=True, slots=True)
class DeviceFit:
    """Whether a method fits a device."""

    method: str
    device: Device
    fit: Fit
    advice: str | None
    """What would make it fit, where something does."""


@dataclass(frozen=True, slots=True)
class PhaseHours:
    """Time of one method in one phase."""

    phase: str
    method: str | None
    hours: Range | None
    """Of one device; none where it is not known."""
    untimed: tuple[str, ...] = ()
    """Tasks whose time is not in it, because nothing tells it."""


@dataclass(frozen=True, slots=True)
class Seating:
    """Which of a method's trials are trained together in one phase, and how many at the same time."""

    phase: str
    method: str
    seats: Range
    """Trials at the same time, at most: of the configs that need most memory, of one in the middle, of those that need
    least. 1 where all are run alone."""
    bound: str
    """What keeps it from being more."""
    alone: float
    """Share of the trials that are run alone, as far as all configs of the space are equally often."""
    reasons: tuple[str, ...] = ()
    """Why these are."""
    bases: int = 1
    """Base models that differ, by what the search chooses: trials share one of them."""
    time_ratio: float | None = None
    """Seconds that a token took together, as a share of what it took alone; none where that was not measured."""
    measured: tuple[int, int] = (0, 0)
    """Trials that tell it: together and alone."""
    saved_hours: float | None = None
    """What being trained together saves of the phase's hours, as expected; less than 0 where it costs."""


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest true difference between two methods that a task would show, with 80 % power at 5 %, two-sided."""

    task: str
    metric: str
    items: int
    seeds: int
    """Models of each method, one a seed."""
    difference: float
    """In the metric's own unit."""
    is_share: bool
    """Whether the metric is a share of items, so that the difference is one too."""
    assumptions: str
    """What it rests on, as one sentence."""
    halved_by: str
    """What would halve it."""


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """What a trial was estimated to need, and what it used."""

    trial: str
    """Its directory in the run."""
    method: str
    estimate: MemoryEstimate
    recorded_bytes: int
    """Peak as recorded: of the process on a CPU, of torch's allocator on a GPU."""

    @property
    def is_within(self) -> bool:
        """Whether what was used lies between low and high."""
        bounds = self.estimate.recorded
        return bounds.low <= self.recorded_bytes <= bounds.high


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """All that is known of a study before it runs."""

    study: str
    model: str
    parameters: int
    devices: tuple[Device, ...]
    rows: Mapping[str, RowLengths]
    """Lengths of the rows by split; empty where they could not be prepared."""
    work: tuple[PhaseWork, ...]
    memory: tuple[MethodMemory, ...]
    fits: tuple[DeviceFit, ...]
    seating: tuple[Seating, ...] = ()
    """What is trained together, by phase and method."""
    hours: tuple[PhaseHours, ...] = ()
    timed_from: str | None = None
    """What the hours are derived from; none where they are not known."""
    price_per_hour: float | None = None
    currency: str = "USD"
    detectable: tuple[Detectable, ...] = ()
    checks: tuple[MemoryCheck, ...] = ()
    """For a run directory: its trials' memory."""
    assumptions: tuple[str, ...] = field(default=())
    missing: tuple[str, ...] = field(default=())
    """What is not known, and how to get it."""

    @property
    def total_hours(self) -> Range | None:
        """Of all phases on one device; none where a phase's time is not known."""
        known = [phase.hours for phase in self.hours if phase.hours is not None]
        return total(known) if self.hours and len(known) == len(self.hours) else None

    @property
    def cost(self) -> Range | None:
        """Of all phases, where the study has a price."""
        hours = self.total_hours
        return None if hours is None or self.price_per_hour is None else hours * self.price_per_hour

    def as_json(self) -> dict[str, object]:
        """Plain values, with what is derived."""
        values = dataclasses.asdict(self)
        for derived in ("total_hours", "cost"):
            found = getattr(self, derived)
            values[derived] = None if found is None else dataclasses.asdict(found)
        plain = _plain(values)
        assert isinstance(plain, dict)  # noqa: S101 - a mapping stays one
        return plain


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return str(value) if isinstance(value, Path) else value
