"""Asynchronous successive halving and Hyperband that remember nothing but the losses that trials reported.

Halving's rule is Optuna's `SuccessiveHalvingPruner`: at each rung a trial goes on where it is among the best one in
`reduction_factor` of those that got there, whether they ended or still run (arXiv 1810.05934). Optuna keeps who passed
a rung in attributes that only its own `prune` writes. A storage that is built again from records lacks them, and a
trial that is run again after an interruption keeps those of its first run, so that nobody judges it there a second
time. Reported losses suffer neither.

Hyperband (arXiv 1603.06560) divides trials among halvings that begin to judge ever later. Optuna's shows a sampler only
the trials of one of them; to a sampler this one is a pruner like any other, so it learns from all.
"""

import hashlib
import math
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class HalvingPruner(optuna.pruners.BasePruner):
    """Judges a trial at steps `first`, first * eta, first * eta^2 and so on, or at its first step past one of them.

    Step `last` is a trial's end, wherever that lies: losses there are compared with none.
    """

    def __init__(self, reduction_factor: int, *, first: int = 1, last: int | None = None) -> None:
        self._factor = reduction_factor
        self._first = first
        self._last = math.inf if last is None else last

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial, which has just reported, is to end here."""
        return self.ends(study, trial, study.get_trials(deepcopy=False))

    def ends(self, study: optuna.Study, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """The same among some of the study's trials."""
        step = trial.last_step
        if step is None or step >= self._last:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        rivals = [other for other in trials if other.number != trial.number]
        mark = self._first
        while mark <= step:
            if self._first_step(trial, mark) == step and self._falls(trial, rivals, mark, sign):
                return True
            mark *= self._factor
        return False

    def _falls(self, trial: FrozenTrial, rivals: list[FrozenTrial], mark: int, sign: float) -> bool:
        own = sign * trial.intermediate_values[self._reached(trial, mark)]
        if math.isnan(own):
            return True
        there = (other for other in rivals if self._first_step(other, mark) is not None)
        values = sorted([own, *(sign * other.intermediate_values[self._reached(other, mark)] for other in there)])
        # Of fewer than `reduction_factor` trials the best goes on.
        return own > values[max(1, len(values) // self._factor) - 1]

    def _first_step(self, trial: FrozenTrial, mark: int) -> int | None:
        return min((step for step in trial.intermediate_values if mark <= step < self._last), default=None)

    def _reached(self, trial: FrozenTrial, mark: int) -> int:
        step = self._first_step(trial, mark)
        assert step is not None  # noqa: S101
        return step


class HyperbandPruner(optuna.pruners.BasePruner):
    """Each trial belongs to a bracket, by the study's name and its number, and is judged among those of its bracket.

    Bracket b begins to judge at step eta^b. Brackets hold trials in the proportions of the paper's Algorithm 1, where
    the resource is one step at least and `last` steps at most.
    """

    def __init__(self, reduction_factor: int, *, last: int) -> None:
        # Whole numbers: a logarithm of 9 to base 3 may fall short of 2.
        count = 1
        while reduction_factor**count <= last:
            count += 1
        self._halvings = [
            HalvingPruner(reduction_factor, first=reduction_factor**bracket, last=last) for bracket in range(count)
        ]
        self._weights = [
            math.ceil(count * reduction_factor ** (count - 1 - bracket) / (count - bracket)) for bracket in range(count)
        ]

    def bracket_of(self, study_name: str, number: int) -> int:
        """The bracket of a trial."""
        place = share_of("bracket", study_name, number) * sum(self._weights)
        return next(bracket for bracket in range(len(self._weights)) if place < sum(self._weights[: bracket + 1]))

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial, which has just reported, is to end here."""
        own = self.bracket_of(study.study_name, trial.number)
        fellows = [
            other
            for other in study.get_trials(deepcopy=False)
            if self.bracket_of(study.study_name, other.number) == own
        ]
        return self._halvings[own].ends(study, trial, fellows)


def share_of(purpose: str, study_name: str, number: int) -> float:
    """A number from 0 to below 1 that a trial always gets for a purpose, whenever and however often it is run."""
    digest = hashlib.sha256(f"{purpose}/{study_name}/{number}".encode()).digest()
    # The upper 53 bits: more would round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
