"""What the training of one trial came to, whichever way it was trained."""

from dataclasses import dataclass

from sweep.record import TrainingResult


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What training came to, unless it raised."""

    result: TrainingResult
    """Measurements."""
    pruned: bool
    """Ended early by the pruner; nothing was saved."""
    intermediate: dict[int, float]
    """Validation loss by rung."""
    seconds: dict[str, float]
    """Wall time by part: train, validate, wait, save."""
