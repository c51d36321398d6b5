"""Which trials are trained together, and how many at the same time.

Trials share a base model where everything but the adapter and its training is the same. How many pay on a device is
found out while they train; here is decided how many are offered: not more than fit the device's memory, and in a
search that learns from its trials not more than a quarter of its budget, because what is asked for at the same time
has learned from the same trials.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
DEVICE_NAMES = {"cpu": "a CPU", "cuda": "a GPU"}
ONE_LANE = "the study says lanes: 1"
FIRST_SEED = "a finalist's first seed tells what one run takes of time and memory"


@dataclass(frozen=True, slots=True)
class Limit:
    """How many trials are run at the same time, and why not more."""

    seats: int
    why: str


class Company:
    """Decides what is run together in one study."""

    def __init__(self, spec: StudySpec, facts: Callable[[], Facts | None]) -> None:
        """`facts` is asked when a trial is handed out, by when a worker has said what there is."""
        self._spec = spec
        self._facts = facts

    def key(self, config: TrialConfig) -> str | None:
        """The same for trials that can be run together; none for one that has to be run alone."""
        method = config.method_spec
        if method is None or self.alone(config) is not None:
            return None
        asked = (config.phase, config.split, config.tasks, config.scoring, config.data, config.repeat)
        return f"{base_key(method, config.model)} {asked!r}"

    def alone(self, config: TrialConfig) -> str | None:
        """Why a trial is run alone, in a phrase; none where others may be run beside it."""
        facts, method = self._facts(), config.method_spec
        if method is None:
            return "the base model is not trained"
        if facts is None:
            return "nothing is known of the device"
        if self._spec.lanes == 1:
            return ONE_LANE
        reason = solo_reason(method, config.model, facts.device.kind)
        return FIRST_SEED if reason is None and config.phase == "confirm" and config.number == 1 else reason

    def seats(self, config: TrialConfig) -> int:
        """How many trials like this one are run at the same time; 1 where it is run alone."""
        return self.limit(config).seats

    def limit(self, config: TrialConfig) -> Limit:
        """The same, with what keeps it from being more."""
        facts, reason = self._facts(), self.alone(config)
        if facts is None or reason is not None:
            return Limit(1, reason or "")
        limits = [self._wanted(config, facts)]
        fitting = lanes_that_fit(config, facts)
        if fitting is not None:
            limits.append(Limit(max(1, fitting), "memory"))
        return min(limits, key=lambda limit: limit.seats)

    def _wanted(self, config: TrialConfig, facts: Facts) -> Limit:
        """What the study asks for; else what a turn of the search has, up to the most that are offered."""
        if self._spec.lanes is not None:
            return Limit(self._spec.lanes, f"the study says lanes: {self._spec.lanes}")
        kind = facts.device.kind
        most = Limit(MOST_SEATS[kind], f"{MOST_SEATS[kind]} are offered to {DEVICE_NAMES[kind]} at most")
        trials = self._spec.budget.trials_per_method
        if config.phase != "search" or self._spec.sampler.name in BLIND_SAMPLERS or trials is None:
            # Confirm's trials are known beforehand.
            return most
        part = "a quarter of" if trials >= 2 * LEARNING_SHARE else "no more of"
        why = f"{part} the budget's {trials} trials, as the search learns from them"
        turn = min(trials, max(2, trials // LEARNING_SHARE))
        return min(most, Limit(turn, why), key=lambda limit: limit.seats)
