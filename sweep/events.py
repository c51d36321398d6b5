"""What a running study tells whoever watches it: small frozen facts, rendered by the command line or a notebook.

Events are for eyes only. Nothing is decided from them; what happened is in the records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sweep.config import TrialConfig
from sweep.record import TrialRecord

Phase = Literal["baseline", "search", "confirm"]


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase begins that has work left."""

    phase: Phase
    trials: int | None
    """Trials still to run, at most; none where the budget does not count them."""


@dataclass(frozen=True, slots=True)
class DataReady:
    """The user's rows are split and tokenized."""

    rows: Mapping[str, int]
    """Rows by split."""
    dropped: tuple[str, ...]
    """Rows that did not fit, each with its reason."""


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A worker has been given a trial."""

    config: TrialConfig


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """How far a trial has come."""

    config: TrialConfig
    part: str
    """What it is doing, such as train or score."""
    done: int
    """Units done of this part."""
    total: int | None
    """Units of this part; none where it is not known."""


@dataclass(frozen=True, slots=True)
class TrialRung:
    """A trial's validation loss has been taken."""

    config: TrialConfig
    rung: int
    validation_loss: float
    pruned: bool
    """Whether the pruner ends the trial here."""


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A trial's record is on disk."""

    record: TrialRecord


@dataclass(frozen=True, slots=True)
class SpaceExhausted:
    """A method's search ends before its budget: nothing new was left to propose."""

    method: str
    trials: int
    """Trials that it ran."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know, as one sentence."""

    message: str


@dataclass(frozen=True, slots=True)
class StudyEnded:
    """Every phase is done."""

    study: str


Event = (
    PhaseStarted
    | DataReady
    | TrialStarted
    | TrialProgress
    | TrialRung
    | TrialEnded
    | SpaceExhausted
    | Notice
    | StudyEnded
)
OnEvent = Callable[[Event], None]
