"""One trial of a wave: its config, what is known of it so far, and its part of the device's time."""

import time
from dataclasses import dataclass, field

from evals.models.source import local_model
from evals.spec import ModelSpec
from sweep.config import TrialConfig
from sweep.course import Course
from sweep.errors import InputError
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory


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
        """Device seconds so far."""
        return sum(self.course.seconds.values())


def base_model(config: TrialConfig) -> ModelSpec:
    """A trial's base model, from its data root where it has one."""
    return local_model(config.model, config.scoring.data_root)
