"""The statistical part of a plan: what each task of the confirm phase will be able to show.

How answers scatter comes from the base model where an earlier run of the same study scored it, and how seeds do from
its finalists. Otherwise scores are taken for right and wrong answers, half of them right: the worst case.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.result import Metric
from evals.spec import GENERAL_TEXT
from reports.gather import gather
from reports.power import CORRELATION, Power, metric_power, proportion_power, seed_deviation
from sweep.errors import RunDirectoryError
from sweep.plan.result import Detectable, StudyPlan
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

WORST = "half of all answers right, the worst case"
NO_SEEDS = "seeds without noise of their own"


def detectable_differences(spec: StudySpec, plan: StudyPlan, run: Path) -> list[Detectable]:
    """A row for each metric of the confirm phase whose items are known. `run` is the study's run directory, if any."""
    confirm = next((work for work in plan.work if work.phase == "confirm"), None)
    if confirm is None:
        return []
    base, finalists = _earlier(run)
    metrics = {} if base is None or base.evaluation is None else base.evaluation.metrics
    found = []
    for task, items in confirm.scoring.items.items():
        if not items:
            continue
        names = _metrics(task, spec, metrics)
        scored = [_scored(name, metrics[name], items, spec, finalists) for name in names]
        # A loss has no worst case: until the base model has been scored on it, nothing tells how it scatters.
        unscored = [] if names or task == GENERAL_TEXT else [_unscored(task, items, spec)]
        found += [row for row in (*scored, *unscored) if row is not None]
    return found


def _scored(
    name: str, metric: Metric, items: int, spec: StudySpec, finalists: Sequence[Sequence[TrialRecord]]
) -> Detectable | None:
    """A metric that the base model has been scored on; none where its error is not known, nor a worst case of it."""
    seeds = max(1, spec.budget.confirm_seeds)
    deviation = seed_deviation([_scores(records, name) for records in finalists])
    seed_sd = deviation or 0.0
    power = metric_power(metric, items, seeds, seed_sd=seed_sd)
    basis = f"answers scatter as the base model's, which scores {metric.value:.3g}"
    if power is None or power.variance == 0:
        if not _is_share(metric):
            return None
        power, basis = proportion_power(items, seeds, seed_sd=seed_sd), WORST
    noise = NO_SEEDS if deviation is None else f"seeds scatter by {deviation:.3g}, as finalists did"
    assumptions = f"{basis}; answers correlate at {CORRELATION}; {noise}."
    return _row(name, power, assumptions, is_share=_is_share(metric))


def _unscored(task: str, items: int, spec: StudySpec) -> Detectable:
    power = proportion_power(items, max(1, spec.budget.confirm_seeds))
    return _row(f"{task}, right or wrong", power, f"{WORST}; answers correlate at {CORRELATION}; {NO_SEEDS}.")


def _row(metric: str, power: Power, assumptions: str, *, is_share: bool = True) -> Detectable:
    return Detectable(
        task=metric.partition("/")[0].partition(",")[0],
        metric=metric,
        items=power.items,
        seeds=power.seeds,
        difference=power.detectable,
        is_share=is_share,
        assumptions=assumptions,
        halved_by=power.halved_by(),
    )


def _metrics(task: str, spec: StudySpec, metrics: Mapping[str, Metric]) -> list[str]:
    """The task's metrics that decide something: the objective, and the first that is a share of items.

    A task that has neither is shown by its first metric.
    """
    own = [name for name in metrics if name.partition("/")[0] == task]
    shares = [name for name in own if _is_share(metrics[name])]
    decisive = [*(name for name in own if name == spec.objective.metric), *shares[:1]]
    return list(dict.fromkeys(decisive or own[:1]))


def _is_share(metric: Metric) -> bool:
    return metric.higher_is_better and 0 <= metric.value <= 1


def _earlier(run: Path) -> tuple[TrialRecord | None, list[tuple[TrialRecord, ...]]]:
    try:
        gathered = gather(RunDirectory(run))
    except RunDirectoryError:
        return None, []
    return gathered.confirm_baseline, [method.scored for method in gathered.methods]


def _scores(records: Sequence[TrialRecord], name: str) -> list[float]:
    values = [
        record.evaluation.metrics[name].value
        for record in records
        if record.evaluation is not None and name in record.evaluation.metrics
    ]
    return [value for value in values if math.isfinite(value)]
