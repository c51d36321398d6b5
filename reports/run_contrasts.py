"""All contrasts of a run: every two methods, each method and the base model, each method and the best constant answer.

They come from the confirm phase alone: the search's scores flatter whatever was chosen by them. A metric that is not
the mean or the ratio of its items' scores, such as a macro F1, cannot be compared item by item and is named.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.result import EvalResult, Metric
from reports import wording
from reports.contrast import BASE_MODEL, Contrast, against_constant, all_pairs, contrast, directions
from reports.gather import Gathered
from reports.sides import MetricName, Paired, Side, TaskItems, metric_names, pair, read_groups, read_side
from sweep.record import TrialRecord

CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class RunContrasts:
    """What could be compared, and what could not."""

    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    """Sentences about answers and metrics that are left out."""
    sides: "Sides"
    """The answers that were compared."""


@dataclass(frozen=True, slots=True)
class Sides:
    """A run's methods and base model, with what their records say."""

    methods: tuple[Side, ...]
    base: tuple[Side, ...]
    evaluations: tuple[EvalResult, ...]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def all(self) -> tuple[Side, ...]:
        """Methods, then the base model."""
        return (*self.methods, *self.base)

    @property
    def reported(self) -> dict[str, list[Metric]]:
        """What the records give as each metric's values."""
        found: dict[str, list[Metric]] = {}
        for evaluation in self.evaluations:
            for name, metric in evaluation.metrics.items():
                found.setdefault(name, []).append(metric)
        return found


def pair_again(sides: Sides, one: Contrast) -> Paired | None:
    """The answers that a contrast of methods and base model was made of; none for one with a constant answer."""
    by_name = {side.name: side for side in sides.all}
    if one.one not in by_name or one.other not in by_name:
        return None
    name = MetricName.of(one.metric)
    return pair(by_name[one.one], by_name[one.other], name, sides.groups.get(name.task, ()))


def contrasts(gathered: Gathered) -> list[Contrast]:
    """Every contrast that a run's confirm phase allows, uncorrected."""
    return list(contrasts_with_notes(gathered).contrasts)


def contrasts_with_notes(gathered: Gathered) -> RunContrasts:
    """The same, with a sentence about everything that is left out."""
    sides = read_sides(gathered)
    names = {name: str(name) for name in metric_names(sides.all)}
    unlike = {name for name in names if not _is_sum_of_items(name, sides)}
    fit = [name for name in names if name not in unlike]
    found = [*_of_groups(sides, fit), *_of_tasks(sides, fit), *_of_constants(sides, fit)]
    return RunContrasts(tuple(found), tuple(_notes(sides, unlike, names)), sides)


def read_sides(gathered: Gathered) -> Sides:
    """Read the answers of the finalists and of the base model on the test split."""
    base = gathered.confirm_baseline
    records = {method.name: method.scored for method in gathered.methods if method.scored}
    references = [] if base is None or base.evaluation is None else [base]
    everything = [*(record for scored in records.values() for record in scored), *references]
    return Sides(
        methods=tuple(_side(name, scored, gathered, is_trained=True) for name, scored in records.items()),
        base=tuple(_side(BASE_MODEL, [record], gathered, is_trained=False) for record in references),
        evaluations=tuple(record.evaluation for record in everything if record.evaluation is not None),
        groups=read_groups(gathered.directory(record).eval for record in everything),
    )


def _side(name: str, records: Sequence[TrialRecord], gathered: Gathered, *, is_trained: bool) -> Side:
    return read_side(name, [gathered.directory(record).eval for record in records], is_trained=is_trained)


def _of_tasks(sides: Sides, names: Sequence[MetricName]) -> Iterator[Contrast]:
    """Contrasts on single tasks; those on a group's tasks say so."""
    better = directions(evaluation.metrics for evaluation in sides.evaluations)
    largest = _largest_groups(sides)
    for name in names:
        group = largest.get(name.task)
        is_part = group is not None and str(name.of_task(group)) in better
        for one, other in all_pairs(sides.methods, sides.base):
            yield from _found(
                contrast(one, other, name, higher_is_better=better.get(str(name), True)), group if is_part else None
            )


def _of_groups(sides: Sides, names: Sequence[MetricName]) -> Iterator[Contrast]:
    """Contrasts on groups, over the items of all their tasks."""
    better = directions(evaluation.metrics for evaluation in sides.evaluations)
    largest = _largest_groups(sides)
    for group, tasks in sorted(sides.groups.items()):
        shared = sorted({(name.metric, name.filter) for name in names if name.task in tasks})
        for metric, filtered_by in shared:
            name = MetricName(group, metric, filtered_by)
            # A group that reports no score of its own is only a list of tasks.
            if str(name) not in better:
                continue
            asked = [task for task in tasks if name.of_task(task) in names]
            above = largest.get(asked[0])
            for one, other in all_pairs(sides.methods, sides.base):
                made = contrast(one, other, name, higher_is_better=better[str(name)], tasks=asked)
                yield from _found(made, above if above != group else None)


def _of_constants(sides: Sides, names: Sequence[MetricName]) -> Iterator[Contrast]:
    constants = next((evaluation.constant for evaluation in sides.evaluations if evaluation.constant), {})
    for name in names:
        if str(name) in constants:
            for side in sides.methods:
                yield from _found(against_constant(side, name, constants[str(name)]), None)


def _found(made: Contrast | None, part_of: str | None) -> Iterator[Contrast]:
    """The contrast, if it could be made of numbers, as a part of its group."""
    if made is None or not math.isfinite(made.difference):
        return
    yield made if part_of is None else made.as_part_of(part_of)


def _largest_groups(sides: Sides) -> dict[str, str]:
    """The largest group that each task belongs to."""
    by_size = sorted(sides.groups.items(), key=lambda pair: (len(pair[1]), pair[0]))
    return {task: group for group, tasks in by_size for task in tasks}


def _is_sum_of_items(name: MetricName, sides: Sides) -> bool:
    """Whether the reported scores are what the items give: not so for a perplexity or a macro F1."""
    reported = sides.reported.get(str(name), [])
    computed = [_score(items, name.metric) for side in sides.all for items in side.with_metric(name)]
    # Where items are missing the two differ for that reason, and the items that are there can be compared.
    return not reported or any(
        math.isclose(metric.value, value, rel_tol=CLOSE, abs_tol=CLOSE) for metric in reported for value in computed
    )


def _score(items: TaskItems, metric: str) -> float:
    values = items.values[metric]
    weights = items.weights.get(metric, np.ones(len(values)))
    present = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[present], weights=weights[present])) if present.any() else math.nan


def _notes(sides: Sides, unlike: set[MetricName], names: Mapping[MetricName, str]) -> Iterator[str]:
    for side in sides.all:
        yield from side.lost
    by_items = set(names.values()) - {str(name) for name in unlike}
    groups = {name for name in sides.reported if name.partition("/")[0] in sides.groups}
    left_out = sorted(set(sides.reported) - by_items - groups)
    if left_out and sides.methods:
        yield (
            f"No verdict on {wording.listed(left_out)}: not the mean or ratio of scores of single items, or no "
            "per-item answers."
        )
