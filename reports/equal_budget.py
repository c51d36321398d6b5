"""Methods at equal budget: how good the best of so many trials is, and how much of the best one's score was luck.

A search that stops after its best trial says little: with more trials any method would look better. Curves give each
method's expected best at every number of trials and at every cost, from the trials that ran. They take the trials as
exchangeable, though a sampler learns on the way, so that they are what a random order of the same trials would give.
A trial that failed or was pruned spent its share of the budget, and counts as the method's worst complete one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evals.result import Metric
from reports.gather import Gathered, MethodRecords
from reports.statistics import Estimate
from reports.statistics.best_of import (
    Curve,
    Optimism,
    area_under,
    best_by_cost,
    best_of_curve,
    selection_optimism,
)
from reports.summary import MethodSummary, Summary
from sweep.record import TrialRecord

SEED = 20_260_102


@dataclass(frozen=True, slots=True)
class SearchCurves:
    """One method's search by trials and by training time; values in the objective's own direction."""

    method: str
    by_trials: Curve
    by_seconds: Curve | None
    """None where no trial recorded its time."""
    complete: int
    """Trials with an objective."""
    mean_height: float | None = None
    """Area under the curve by seconds over the range that all methods reach, divided by that range."""


@dataclass(frozen=True, slots=True)
class WinnersCurse:
    """One method's best validation score against the same config's score on rows that the search never saw."""

    method: str
    metric: str
    trials: int
    chosen: Metric
    """Where it was chosen."""
    tested: Estimate
    """Mean over fresh seeds on the test split."""
    optimism: Optimism | None
    """What choosing the best of noisy scores adds by itself; none where the metric did not choose, or has no error."""

    @property
    def drop(self) -> float:
        """How much worse it is on the test split."""
        fall = self.chosen.value - self.tested.value
        return fall if self.chosen.higher_is_better else -fall


def search_curves(gathered: Gathered) -> list[SearchCurves]:
    """Every method that completed a trial, in the study file's order."""
    sign = 1.0 if gathered.spec.objective.direction == "maximize" else -1.0
    found = [curves for method in gathered.methods if (curves := _curves(method, sign)) is not None]
    reach = [curves.by_seconds.budgets for curves in found if curves.by_seconds is not None]
    if len(reach) < len(found) or not reach:
        return found
    start, end = max(budgets[0] for budgets in reach), min(budgets[-1] for budgets in reach)
    return [_measured(curves, start, end) for curves in found]


def winners_curses(gathered: Gathered, summary: Summary) -> list[WinnersCurse]:
    """One row for each method and metric that was scored in both phases: the objective's, then the deciding one."""
    if summary.split != "test":
        return []
    wanted = dict.fromkeys(name for name in (gathered.spec.objective.metric, summary.metric) if name is not None)
    pairs = zip(gathered.methods, summary.methods, strict=True)
    return [
        curse
        for method, scored in pairs
        for metric in wanted
        if (curse := _curse(method, scored, metric, gathered)) is not None
    ]


def _curse(method: MethodRecords, scored: MethodSummary, metric: str, gathered: Gathered) -> WinnersCurse | None:
    evaluation = None if method.best is None else method.best.evaluation
    chosen = None if evaluation is None else evaluation.metrics.get(metric)
    tested = scored.scores.get(metric)
    if chosen is None or tested is None:
        return None
    values = [record.objective for record in _own(method) if _objective(record) is not None]
    optimism = None
    if metric == gathered.spec.objective.metric and chosen.stderr:
        sign = 1.0 if chosen.higher_is_better else -1.0
        signed = [sign * value for value in values if value is not None]
        optimism = selection_optimism(signed, chosen.stderr, seed=SEED)
    return WinnersCurse(method.name, metric, len(values), chosen, tested, optimism)


def _curves(method: MethodRecords, sign: float) -> SearchCurves | None:
    trials = _own(method)
    objectives = [_objective(record) for record in trials]
    complete = [sign * value for value in objectives if value is not None]
    if not complete:
        return None
    values = [min(complete) if value is None else sign * value for value in objectives]
    costs = [record.seconds.get("train", record.seconds_total) for record in trials]
    return SearchCurves(
        method=method.name,
        by_trials=_signed(best_of_curve(values, seed=SEED), sign),
        by_seconds=_signed(best_by_cost(values, costs, seed=SEED), sign) if sum(costs) > 0 else None,
        complete=len(complete),
    )


def _measured(curves: SearchCurves, start: float, end: float) -> SearchCurves:
    height = None if curves.by_seconds is None or end <= start else area_under(curves.by_seconds, start, end)
    return SearchCurves(curves.method, curves.by_trials, curves.by_seconds, curves.complete, height)


def _signed(curve: Curve, sign: float) -> Curve:
    """The curve in the objective's own direction; its band keeps the lower end below."""
    if sign > 0:
        return curve
    turned = [[-value for value in part] for part in (curve.values, curve.high, curve.low)]
    return Curve(curve.budgets, turned[0], turned[1], turned[2])


def _own(method: MethodRecords) -> Sequence[TrialRecord]:
    return [record for record in method.search if record.reused_from is None]


def _objective(record: TrialRecord) -> float | None:
    """The objective of a complete trial, where it is a number."""
    value = record.objective if record.state == "COMPLETE" else None
    return value if value is not None and math.isfinite(value) else None
