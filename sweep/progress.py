"""How far a trial is, for a person who watches. The driver reads it too, so it needs no torch."""

from dataclasses import dataclass
from typing import Literal

TrialPhase = Literal["load", "train", "validate", "score"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One sign of life from a trial."""

    phase: TrialPhase
    """What the trial is doing."""
    step: int
    """Optimizer steps taken, or requests answered while scoring."""
    steps: int
    """Steps or requests in all; 0 until they are known."""
    loss: float | None
    """Last training loss, or the validation loss just taken."""
    note: str = ""
    """A sentence for whoever runs the study."""
