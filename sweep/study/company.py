"""Which trials are trained together, and how many at the same time.

Trials share a base model where everything but the adapter and its training is the same. How many pay on a device is
found out while they train; here is decided how many are offered: not more than fit the device's memory, and in a
search that learns from its trials not more than a quarter of its budget, because what is asked for at the same time
has learned from the same trials.
"""

from collections.abc import Callable

from sweep.config import TrialConfig
from sweep.plan.fit import lanes_that_fit
from sweep.shape import Facts
from sweep.spec import StudySpec
from sweep.training.lanes.ability import base_key, solo_reason

MOST_SEATS = {"cpu": 8, "cuda": 32}
"""Trials that are offered to one device at most, unless the study asks for more."""
LEARNING_SHARE = 4
"""A search that learns is divided into at least so many turns."""
BLIND_SAMPLERS = frozenset({"random", "grid"})
"""Samplers that propose the same whatever came before."""


class Company:
    """Decides what is run together in one study."""

    def __init__(self, spec: StudySpec, facts: Callable[[], Facts | None]) -> None:
        """`facts` is asked when a trial is handed out, by when a worker has said what there is."""
        self._spec = spec
        self._facts = facts

    def key(self, config: TrialConfig) -> str | None:
        """The same for trials that can be run together; none for one that has to be run alone."""
        facts, method = self._facts(), config.method_spec
        if facts is None or method is None or self._spec.lanes == 1:
            return None
        if config.phase == "confirm" and config.number == 1:
            # What one run takes of time and memory is told by one that had the device to itself.
            return None
        if method.training.horizon is not None:
            # Lanes lay their rungs over a trial's own steps.
            return None
        if solo_reason(method, config.model, facts.device.kind) is not None:
            return None
        asked = (config.phase, config.split, config.tasks, config.scoring, config.data, config.repeat)
        return f"{base_key(method, config.model)} {asked!r}"

    def seats(self, config: TrialConfig) -> int:
        """How many trials like this one are run at the same time; 1 where it is run alone."""
        facts = self._facts()
        if facts is None or self.key(config) is None:
            return 1
        wanted = self._spec.lanes or min(MOST_SEATS[facts.device.kind], self._turn(config))
        fitting = lanes_that_fit(config, facts)
        return max(1, wanted if fitting is None else min(wanted, fitting))

    def _turn(self, config: TrialConfig) -> int:
        """Trials of one turn of the search; confirm's are known beforehand."""
        trials = self._spec.budget.trials_per_method
        if config.phase != "search" or self._spec.sampler.name in BLIND_SAMPLERS or trials is None:
            return MOST_SEATS["cuda"]
        return min(trials, max(2, trials // LEARNING_SHARE))
