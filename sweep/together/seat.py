"""One trial of a wave: its config, what is known of it so far, and its part of the device's time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from evals.models.source import local_model
from evals.spec import ModelSpec
from sweep.config import TrialConfig
from sweep.continuing import go_on
from sweep.course import Account, Course
from sweep.errors import InputError
from sweep.progress import Progress
from sweep.record import DeviceUse, Memory
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory
from sweep.training.state.keeper import StateKeeper


@dataclass(slots=True)
class Seat:
    """One trial of the wave."""

    place: int
    config: TrialConfig
    directory: TrialDirectory
    course: Course = field(default_factory=Course)
    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    """Rounds that it was seated for."""
    company: int = 0
    """Trials that were seated in those rounds, added up."""

    keeper: StateKeeper | None = None
    """Saves what it needs to go on after an interruption."""

    @property
    def method(self) -> MethodSpec:
        """What is trained."""
        if self.config.method_spec is None:
            raise InputError("the base model is not trained, so it has no place among trials that are.")
        return self.config.method_spec

    def charge(self, part: str, seconds: float) -> None:
        """Add device seconds to one part of the trial's time."""
        self.course.seconds[part] = self.course.seconds.get(part, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Device seconds since its latest start."""
        return sum(self.course.seconds.values()) - self.course.earlier_seconds

    @property
    def elapsed_seconds(self) -> float:
        """Wall time since its latest start."""
        return time.monotonic() - self.began

    def go_on(self, on_progress: Callable[[Progress], None]) -> bool:
        """Find what the trial goes on from. Gives whether it had been trained already."""
        outcome = go_on(self.keeper, self.course, self.directory, on_progress)
        if self.course.earlier is not None:
            self.steps, self.company = self.course.earlier.steps, self.course.earlier.company
        if outcome is None:
            return False
        self.course.training = outcome.result
        return True

    def account(self, memory: Memory, device: DeviceUse) -> Account:
        """What the trial has taken by now; `device` tells of its own part of the energy since its latest start."""
        self.course.measure(memory, device)
        return self.course.account(
            seconds_total=self.seconds,
            elapsed_seconds=self.elapsed_seconds,
            steps=self.steps,
            company=self.company,
        )


def base_model(config: TrialConfig) -> ModelSpec:
    """A trial's base model, from its data root where it has one."""
    return local_model(config.model, config.scoring.data_root)
