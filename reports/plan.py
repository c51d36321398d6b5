"""The statistical part of a plan: what each task of the confirm phase will be able to show.

How answers scatter comes from the base model where an earlier run of the same study scored it, and how seeds do from
its finalists; of a loss also how far two models lie apart. Otherwise scores are taken for right and wrong answers,
half of them right: the worst case.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.result import Metric
from reports.gather import Gathered, gather
from reports.loss_power import paired_loss
from reports.power import CORRELATION, Power, metric_power, proportion_power, seed_deviation
from sweep.errors import RunDirectoryError
from sweep.plan.result import Detectable, PhaseWork, StudyPlan
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

WORST = "half of all answers right, the worst case"
NO_SEEDS = "seeds without noise of their own"


def detectable_differences(spec: StudySpec, plan: StudyPlan, run: Path) -> list[Detectable]:
    """A row for each metric of the confirm phase whose items are known. `run` is the study's run directory, if any."""
    confirm = _confirm(plan)
    if confirm is None:
        return []
    gathered = _earlier(run)
    base = None if gathered is None else gathered.confirm_baseline or gathered.baseline
    metrics = {} if base is None or base.evaluation is None else base.evaluation.metrics
    found = []
    for task, items in confirm.scoring.items.items():
        if not items:
            continue
        names = _metrics(task, spec, metrics)
        scored = [_scored(name, metrics[name], items, spec, gathered) for name in names]
        # A loss has no worst case: until the base model has been scored on it, nothing tells how it scatters.
        is_graded = not names and task not in confirm.scoring.loss_only
        unscored = [_unscored(task, items, spec)] if is_graded else []
        found += [row for row in (*scored, *unscored) if row is not None]
    return found


def unknown_differences(plan: StudyPlan, found: Sequence[Detectable]) -> list[str]:
    """What is missing for the tasks of which only a loss comes out, and how to get it."""
    confirm, told = _confirm(plan), {row.task for row in found}
    tasks = [] if confirm is None else [task for task in confirm.scoring.loss_only if task not in told]
    if not tasks:
        return []
    note = (
        f"The smallest difference in the loss per token on {', '.join(tasks)} is not known: a loss has no worst case, "
        "and no earlier run of this study tells how far losses scatter. `sweep run` scores the base model before "
        "anything else; plan again once it has."
    )
    return [note]


def _confirm(plan: StudyPlan) -> PhaseWork | None:
    return next((work for work in plan.work if work.phase == "confirm"), None)


def _scored(name: str, metric: Metric, items: int, spec: StudySpec, gathered: Gathered | None) -> Detectable | None:
    """A metric that the base model has been scored on; none where its error is not known, nor a worst case of it."""
    seeds = max(1, spec.budget.confirm_seeds)
    finalists = [] if gathered is None else [method.scored for method in gathered.methods]
    deviation = seed_deviation([_scores(records, name) for records in finalists])
    seed_sd = deviation or 0.0
    noise = NO_SEEDS if deviation is None else f"seeds scatter by {deviation:.3g}, as finalists did"
    is_share = _is_share(metric)
    paired = None if is_share or gathered is None else paired_loss(gathered, name)
    if paired is not None:
        power = Power(items, seeds, 0.0, seed_sd=seed_sd, paired_variance=paired.variance)
        assumptions = f"losses differ from item to item by {math.sqrt(paired.variance):.3g}, as {paired.told_by}"
        return _row(name, power, f"{assumptions}; {noise}.", is_share=False)
    measured = metric_power(metric, items, seeds, seed_sd=seed_sd)
    basis = f"answers scatter as the base model's, which scores {metric.value:.3g}"
    if measured is None or measured.variance == 0:
        if not is_share:
            return None
        measured, basis = proportion_power(items, seeds, seed_sd=seed_sd), WORST
    return _row(name, measured, f"{basis}; answers correlate at {CORRELATION}; {noise}.", is_share=is_share)


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


def _earlier(run: Path) -> Gathered | None:
    try:
        return gather(RunDirectory(run))
    except RunDirectoryError:
        return None


def _scores(records: Sequence[TrialRecord], name: str) -> list[float]:
    values = [
        record.evaluation.metrics[name].value
        for record in records
        if record.evaluation is not None and name in record.evaluation.metrics
    ]
    return [value for value in values if math.isfinite(value)]
