"""One side of a comparison: the answers of one or several models, and how two sides are put beside each other.

Items are paired by task, filter and the hash of the document. A document that stands in a task twice is told apart by
its place among its copies. What only one of two sides has is left out and counted.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evals.errors import RunError
from evals.items import Item, read_items
from reports.statistics import Design, Models, codes_of, linearized
from reports.statistics.clusters import Floats

RESULT_FILES = "results_*.json"
NO_FILTER = "none"
UNBOUNDED = frozenset({"loss", "bits_per_byte"})
"""Metrics that may exceed 1, though on a given day all of their values lie below it."""

Key = tuple[str, int]
"""A document's hash, and its place among the documents with that hash."""


@dataclass(frozen=True, slots=True, order=True)
class MetricName:
    """A metric of one task through one filter."""

    task: str
    metric: str
    filter: str = NO_FILTER

    def __str__(self) -> str:
        suffix = "" if self.filter == NO_FILTER else f",{self.filter}"
        return f"{self.task}/{self.metric}{suffix}"

    @classmethod
    def of(cls, name: str) -> "MetricName":
        """Read `task/metric,filter` back; a metric may hold slashes itself."""
        task, _, rest = name.partition("/")
        metric, _, filtered_by = rest.partition(",")
        return cls(task, metric, filtered_by or NO_FILTER)

    def of_task(self, task: str) -> "MetricName":
        """The same metric of another task."""
        return MetricName(task, self.metric, self.filter)


@dataclass(frozen=True, slots=True)
class TaskItems:
    """One model's items of one task through one filter, column by column."""

    keys: tuple[Key, ...]
    groups: tuple[str | None, ...]
    targets: tuple[str, ...]
    prompts: tuple[str, ...]
    """Hashes of what was asked."""
    values: Mapping[str, Floats]
    """By metric; not a number where an item has no such score."""
    weights: Mapping[str, Floats]
    """Denominators of metrics that are ratios of sums."""

    def score(self, metric: str) -> float:
        """The metric over all items that have it: their mean, or the ratio of sums."""
        values = self.values[metric]
        weights = self.weights.get(metric, np.ones(len(values)))
        present = ~np.isnan(values) & (weights > 0)
        return float(np.average(values[present], weights=weights[present])) if present.any() else math.nan

    @property
    def places(self) -> dict[Key, int]:
        """Where each item stands."""
        return {key: place for place, key in enumerate(self.keys)}


Answers = Mapping[tuple[str, str], TaskItems]
"""One model's items by task and filter."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison."""

    name: str
    is_trained: bool
    """Whether training again would give another model."""
    models: Sequence[Answers]
    lost: Sequence[str] = ()
    """Complaints about models whose answers are missing or cannot be read."""

    def with_metric(self, name: MetricName) -> list[TaskItems]:
        """The items of each model that was scored by this metric."""
        found = (answers.get((name.task, name.filter)) for answers in self.models)
        return [items for items in found if items is not None and name.metric in items.values]


@dataclass(frozen=True, slots=True)
class Paired:
    """Two sides on the items that both answered."""

    one: Models
    other: Models
    design: Design
    unpaired: tuple[int, int]
    """Items that only the one, or only the other, has."""
    is_bounded: bool
    """Whether the metric lies between 0 and 1."""
    targets: tuple[str, ...]
    """Expected answers of the shared items."""
    keys: tuple[Key, ...] = field(repr=False, default=())
    """The shared items, in order."""


def read_side(name: str, directories: Iterable[Path], *, is_trained: bool) -> Side:
    """Read the answers of one side's models; directories without any, or with broken files, are named as lost."""
    models: list[Answers] = []
    lost = []
    for directory in directories:
        try:
            answers = read_answers(directory)
        except (RunError, OSError) as error:
            lost.append(f"The per-item answers of {name} could not be read: {error}")
            continue
        if answers:
            models.append(answers)
        else:
            lost.append(f"One of the models of {name} has no per-item answers.")
    return Side(name, is_trained, tuple(models), tuple(lost))


def read_answers(directory: Path) -> Answers:
    """Every item scored into a directory. Raises RunError for a file that holds something else."""
    return answers_of(read_items(directory))


def answers_of(items: Iterable[Item]) -> Answers:
    """One model's items, column by column."""
    found: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        found.setdefault((item.task, item.filter), []).append(item)
    return {key: _columns(items) for key, items in found.items()}


def read_groups(directories: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Which tasks each group holds in the end, such as `mmlu` its 57 subjects, by lm-evaluation-harness's files."""
    children: dict[str, list[str]] = {}
    for directory in directories:
        for path in sorted(directory.rglob(RESULT_FILES)):
            try:
                found = json.loads(path.read_text("utf-8"))["group_subtasks"]
            except (OSError, ValueError, KeyError, TypeError):
                # Without it, tasks are compared one by one.
                continue
            children |= {name: list(tasks) for name, tasks in found.items() if tasks}
    return {name: tuple(sorted(set(leaves(name, children)))) for name in children}


def metric_names(sides: Iterable[Side]) -> list[MetricName]:
    """Every metric that single items of any side have, in the order of their names."""
    return sorted(
        {
            MetricName(task, metric, filtered_by)
            for side in sides
            for answers in side.models
            for (task, filtered_by), items in answers.items()
            for metric in items.values
        }
    )


def pair(one: Side, other: Side, name: MetricName, tasks: Sequence[str] = ()) -> Paired | None:
    """Put two sides side by side on one metric; for a group over all of its tasks, each a stratum.

    None where they share fewer than two items that do not depend on each other.
    """
    strata = [part for task in tasks or (name.task,) if (part := _pair_task(one, other, name.of_task(task)))]
    # A model that was not asked one of the tasks has no score on the group.
    counts = {(part.one.count, part.other.count) for part in strata}
    if not strata or len(counts) > 1:
        return None
    paired = strata[0] if len(strata) == 1 else _joined(strata)
    clusters = paired.design.cluster_count
    units = paired.one.values.shape[1] if clusters is None else clusters
    return paired if units > 1 else None


def _pair_task(one: Side, other: Side, name: MetricName) -> Paired | None:
    firsts, seconds = one.with_metric(name), other.with_metric(name)
    if not firsts or not seconds:
        return None
    is_ratio = any(name.metric in items.weights for items in (*firsts, *seconds))
    keys = firsts[0].keys
    columns = [_column(items, name.metric, keys, is_ratio=is_ratio) for items in firsts]
    columns += [_column(items, name.metric, keys, is_ratio=is_ratio) for items in seconds]
    present = [~np.isnan(values) for values, _ in columns]
    in_one, in_other = np.all(present[: len(firsts)], axis=0), np.all(present[len(firsts) :], axis=0)
    shared = in_one & in_other
    if not shared.any():
        return None
    values = np.array([column[shared] for column, _ in columns])
    bounded = name.metric not in UNBOUNDED and bool(((values >= 0) & (values <= 1)).all())
    if is_ratio:
        weights = np.array([column[shared] for _, column in columns])
        if not (weights.sum(axis=1) > 0).all():
            return None
        values = linearized(values, weights)
    places = np.flatnonzero(shared)
    # Items of the other side that the first model of this one has not got.
    strangers = min(len(set(items.keys) - set(keys)) for items in seconds)
    return Paired(
        one=Models(values[: len(firsts)], one.is_trained),
        other=Models(values[len(firsts) :], other.is_trained),
        design=_design([firsts[0].groups[place] for place in places]),
        unpaired=(int((in_one & ~in_other).sum()), int((in_other & ~in_one).sum()) + strangers),
        is_bounded=bounded,
        targets=tuple(firsts[0].targets[place] for place in places),
        keys=tuple(keys[place] for place in places),
    )


def _joined(parts: Sequence[Paired]) -> Paired:
    """Tasks of a group as strata of one sample."""
    sizes = [part.one.values.shape[1] for part in parts]
    return Paired(
        one=Models(np.concatenate([part.one.values for part in parts], axis=1), parts[0].one.is_trained),
        other=Models(np.concatenate([part.other.values for part in parts], axis=1), parts[0].other.is_trained),
        design=Design(strata=np.repeat(np.arange(len(parts)), sizes)),
        unpaired=(sum(part.unpaired[0] for part in parts), sum(part.unpaired[1] for part in parts)),
        is_bounded=all(part.is_bounded for part in parts),
        targets=tuple(target for part in parts for target in part.targets),
        keys=tuple(key for part in parts for key in part.keys),
    )


def _design(groups: Sequence[str | None]) -> Design:
    """Clusters where items have groups; an item without one stands alone."""
    if all(group is None for group in groups):
        return Design()
    named = [f"item {place}" if name is None else f"group {name}" for place, name in enumerate(groups)]
    return Design(clusters=codes_of(named))


def _column(items: TaskItems, metric: str, keys: tuple[Key, ...], *, is_ratio: bool) -> tuple[Floats, Floats]:
    """Values and denominators of one metric, in the order of these keys; not a number where an item is missing."""
    values = items.values[metric]
    weights = items.weights.get(metric, np.ones(len(values)))
    if is_ratio:
        # An item whose denominator is 0 adds nothing to either sum: it is no missing item.
        weights, values = np.where(np.isnan(values), 0.0, weights), np.where(np.isnan(values), 0.0, values)
    if items.keys == keys:
        return values, weights
    places = items.places
    taken = np.array([places.get(key, -1) for key in keys])
    missing = taken < 0
    return np.where(missing, np.nan, values[taken]), np.where(missing, np.nan, weights[taken])


def _columns(items: Sequence[Item]) -> TaskItems:
    copies: Counter[str] = Counter()
    keys = []
    for item in items:
        keys.append((item.doc_hash, copies[item.doc_hash]))
        copies[item.doc_hash] += 1
    names = sorted({name for item in items for name in item.scores})
    weighted = sorted({name for item in items for name in item.weights})
    return TaskItems(
        keys=tuple(keys),
        groups=tuple(item.group for item in items),
        targets=tuple(item.target for item in items),
        prompts=tuple(item.prompt_hash for item in items),
        values={name: np.array([item.scores.get(name, np.nan) for item in items]) for name in names},
        weights={name: np.array([item.weights.get(name, 1.0) for item in items]) for name in weighted},
    )


def leaves(name: str, children: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The tasks that a group holds in the end; a task holds itself."""
    if name not in children:
        yield name
        return
    for child in children[name]:
        yield from leaves(child, children)
