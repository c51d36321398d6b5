"""A guard around any pruner, for late bloomers: trials whose early rungs say less of their end than others' do.

A pruner's word is not taken where the rung lies within the trial's warm-up, and where its curve, carried on to the
trial's end, comes as low as the leading trial's. Besides, a share of all trials runs to its end whatever their losses,
so that what pruning misses shows.
"""

import math
from collections.abc import Callable, Mapping

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweep.rungs import TOLERANCE, Stretch
from sweep.search.halving import share_of


class GuardedPruner(optuna.pruners.BasePruner):
    """Ends the trials that another pruner would end, without those that may yet lead. Steps are rungs, from 1."""

    def __init__(
        self,
        pruner: optuna.pruners.BasePruner,
        *,
        spared_share: float,
        stretch_of: Callable[[FrozenTrial], Stretch],
    ) -> None:
        self._pruner = pruner
        self._spared_share = spared_share
        self._stretch_of = stretch_of

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial, which has just reported, is to end here."""
        rung = trial.last_step
        if rung is None or self.is_spared(study.study_name, trial.number):
            return False
        if rung <= self._stretch_of(trial).warm_up + TOLERANCE:
            return False
        return self._pruner.prune(study, trial) and not self._may_lead(study, trial)

    def is_spared(self, study_name: str, number: int) -> bool:
        """Whether the trial is one of those that always run to their end."""
        return share_of("spared", study_name, number) < self._spared_share

    def _may_lead(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        own = self._at_end(trial, sign)
        if own is None:
            return False
        others = (other for other in study.get_trials(deepcopy=False) if other.number != trial.number)
        ends = [end for other in others if (end := self._end_of(other, sign)) is not None]
        return bool(ends) and own <= min(ends)

    def _end_of(self, trial: FrozenTrial, sign: float) -> float | None:
        """The loss at a trial's end: as it was, or as its curve leads there where it still runs."""
        losses = {rung: sign * value for rung, value in trial.intermediate_values.items()}
        if not losses or trial.state not in (TrialState.COMPLETE, TrialState.RUNNING):
            return None
        last = losses[max(losses)]
        if trial.state == TrialState.COMPLETE:
            return None if math.isnan(last) else last
        carried = self._at_end(trial, sign)
        return carried if carried is not None else last if math.isfinite(last) else None

    def _at_end(self, trial: FrozenTrial, sign: float) -> float | None:
        span = self._stretch_of(trial)
        return extrapolate(
            {rung: sign * value for rung, value in trial.intermediate_values.items() if rung > span.warm_up},
            span.end,
        )


def extrapolate(losses: Mapping[int, float], end: float) -> float | None:
    """The loss at a trial's end by the power law through its last two rungs; none from fewer.

    Loss falls as a power of the tokens seen (arXiv 1712.00409, arXiv 2001.08361), L(n) = L(n2) (n / n2)^-b with
    b = ln(L(n1) / L(n2)) / ln(n2 / n1). Their irreducible loss is left out: two points do not tell it, and without it
    the law promises too much rather than too little. A loss that rises is carried on upwards.
    """
    if len(losses) < 2:  # noqa: PLR2004 - the last two rungs
        return None
    first, second = sorted(losses)[-2:]
    if not all(math.isfinite(losses[rung]) and losses[rung] > 0 for rung in (first, second)):
        return None
    power = math.log(losses[first] / losses[second]) / math.log(second / first)
    return float(losses[second] * (max(end, second) / second) ** -power)
