"""Asynchronous successive halving that remembers nothing but the losses that trials reported.

The rule is Optuna's `SuccessiveHalvingPruner` with `min_resource` 1: at each rung a trial goes on where it is among the
best one in `reduction_factor` of those that got there, whether they ended or still run. Optuna keeps who passed a rung
in attributes that only its own `prune` writes. A storage that is built again from records lacks them, and a trial that
is run again after an interruption keeps those of its first run, so that nobody judges it there a second time. Reported
losses suffer neither.
"""

import math

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class HalvingPruner(optuna.pruners.BasePruner):
    """Judges a trial at steps 1, eta, eta^2 and so on, or at its first step past one of them."""

    def __init__(self, reduction_factor: int) -> None:
        self._factor = reduction_factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial, which has just reported, is to end here."""
        step = trial.last_step
        if step is None:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        rivals = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        mark = 1
        while mark <= step:
            if _first_step(trial, mark) == step and self._falls(trial, rivals, mark, sign):
                return True
            mark *= self._factor
        return False

    def _falls(self, trial: FrozenTrial, rivals: list[FrozenTrial], mark: int, sign: float) -> bool:
        own = sign * trial.intermediate_values[_reached(trial, mark)]
        if math.isnan(own):
            return True
        there = (other for other in rivals if _first_step(other, mark) is not None)
        values = sorted([own, *(sign * other.intermediate_values[_reached(other, mark)] for other in there)])
        # Of fewer than `reduction_factor` trials the best goes on.
        return own > values[max(1, len(values) // self._factor) - 1]


def _first_step(trial: FrozenTrial, mark: int) -> int | None:
    return min((step for step in trial.intermediate_values if step >= mark), default=None)


def _reached(trial: FrozenTrial, mark: int) -> int:
    step = _first_step(trial, mark)
    assert step is not None  # noqa: S101
    return step
