"""One side of a comparison: the answers of one or several models, read item by item.

An item is known by task, filter and the hash of the document. A document that stands in a task twice is told apart by
its place among its copies.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evals.errors import RunError
from evals.items import Item, read_items
from evals.outside import parse_json, read_outside
from evals.tasks.aggregate import macro_f1
from reports.statistics.clusters import Floats

RESULT_FILES = "results_*.json"
NO_FILTER = "none"
LABELLED = frozenset({"macro_f1"})
"""Metrics of all expected and given labels together."""

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
    labels: Mapping[str, tuple[tuple[str, str] | None, ...]] = field(default_factory=dict)
    """Expected and given texts, by metrics that only make sense over all items; none where an item has none."""

    def has(self, metric: str) -> bool:
        """Whether the metric can be had from these items."""
        return metric in self.values or (metric in LABELLED and metric in self.labels)

    def score(self, metric: str) -> float:
        """The metric over all items that have it: their mean, the ratio of sums, or the macro F1 of labels."""
        if metric in LABELLED:
            pairs = [pair for pair in self.labels[metric] if pair is not None]
            return macro_f1(pairs) if pairs else math.nan
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
        return [items for items in found if items is not None and items.has(name.metric)]


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
                found = parse_json(read_outside(path))["group_subtasks"]
                children |= {name: [str(task) for task in tasks] for name, tasks in found.items() if tasks}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                # Without it, tasks are compared one by one.
                continue
    return {name: tuple(sorted(set(leaves(name, children)))) for name in children}


def metric_names(sides: Iterable[Side]) -> list[MetricName]:
    """Every metric that can be had from the items of any side, in the order of their names."""
    return sorted(
        {
            MetricName(task, metric, filtered_by)
            for side in sides
            for answers in side.models
            for (task, filtered_by), items in answers.items()
            for metric in (*items.values, *items.labels)
            if items.has(metric)
        }
    )


def _columns(items: Sequence[Item]) -> TaskItems:
    copies: Counter[str] = Counter()
    keys = []
    for item in items:
        keys.append((item.doc_hash, copies[item.doc_hash]))
        copies[item.doc_hash] += 1
    names = sorted({name for item in items for name in item.scores})
    weighted = sorted({name for item in items for name in item.weights})
    labelled = sorted({name for item in items for name in item.labels})
    return TaskItems(
        keys=tuple(keys),
        groups=tuple(item.group for item in items),
        targets=tuple(item.target for item in items),
        prompts=tuple(item.prompt_hash for item in items),
        values={name: np.array([item.scores.get(name, np.nan) for item in items]) for name in names},
        weights={name: np.array([item.weights.get(name, 1.0) for item in items]) for name in weighted},
        labels={name: tuple(item.labels.get(name) for item in items) for name in labelled},
    )


def leaves(name: str, children: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The tasks that a group holds in the end, each once; a task holds itself, and a group never."""
    left, seen = [name], {name}
    while left:
        one = left.pop()
        if one not in children:
            yield one
        inner = [child for child in dict.fromkeys(children.get(one, ())) if child not in seen]
        seen.update(inner)
        left += reversed(inner)
