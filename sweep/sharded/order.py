"""What a worker and the processes that train one trial for it say to each other: values that can be pickled.

Each process is told what to do when it starts. The first reports progress and rungs; a rung's verdict goes to all of
them, so that all end at the same step. Each ends with `Trained`, `Failed` or `Refused`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.spec import ModelSpec
from sweep.data.prepared import PreparedData
from sweep.record import Failure, Memory
from sweep.spec import MethodSpec
from sweep.training.outcome import TrainingOutcome


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, and where it is written."""

    model: ModelSpec
    """The base model, which is here."""
    method: MethodSpec
    """The method with the trial's params."""
    seed: int
    """The trial's seed."""
    prepared: PreparedData
    """Its rows."""
    cache: Path
    """Where converted models are kept."""
    hub: Path | None
    """Directory that is read in place of the Hub."""
    output: Path
    """Where the checkpoint goes."""
    steps: Path
    """Where steps are written down."""
    deadline: float | None
    """When the trial has to end, on the machine's monotonic clock."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A process has done its part."""

    outcome: TrainingOutcome
    """What training came to; it means something in the first process only."""
    seconds: Mapping[str, float]
    """Wall time of parts before the training."""
    memory: Memory
    """Peak memory of this process and its GPU."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A process failed."""

    failure: Failure
    """As what."""
    is_echo: bool
    """Whether it only noticed that another process is gone or late."""
