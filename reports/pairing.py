"""Two sides beside each other on one metric, item by item.

Items are paired by task, filter and document. What only one of two sides has is left out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reports.labels import expected_labels, given_labels, label_codes
from reports.sides import LABELLED, Key, MetricName, Side, TaskItems
from reports.statistics import Design, Models, codes_of, linearized
from reports.statistics.clusters import Codes, Floats
from reports.statistics.macro import Labelled, replicated, replicates

UNBOUNDED = frozenset({"loss", "bits_per_byte"})
"""Metrics that may exceed 1, though on a given day all of their values lie below it."""
SMALLEST_SAMPLE = 2
"""A variance needs two."""


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

    @property
    def items(self) -> int:
        """How many items both have."""
        return len(self.targets)


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
    units = paired.items if clusters is None else clusters
    return paired if units > 1 else None


def _pair_task(one: Side, other: Side, name: MetricName) -> Paired | None:
    firsts, seconds = one.with_metric(name), other.with_metric(name)
    if not firsts or not seconds:
        return None
    keys, everyone = firsts[0].keys, (*firsts, *seconds)
    columns = _labels(everyone, name.metric) if name.metric in LABELLED else _values(everyone, name.metric)
    aligned = [_aligned(column, items, keys) for column, items in zip(columns, everyone, strict=True)]
    present = [~np.isnan(column) for column in aligned]
    in_one, in_other = np.all(present[: len(firsts)], axis=0), np.all(present[len(firsts) :], axis=0)
    places = np.flatnonzero(in_one & in_other)
    if not len(places):
        return None
    design = _design([firsts[0].groups[place] for place in places])
    made = _made(name.metric, everyone, np.array([column[places] for column in aligned]), places, design)
    if made is None:
        return None
    # Items of the other side that the first model of this one has not got.
    strangers = min(len(set(items.keys) - set(keys)) for items in seconds)
    return Paired(
        one=Models(made.values[: len(firsts)], one.is_trained),
        other=Models(made.values[len(firsts) :], other.is_trained),
        design=made.design,
        unpaired=(int((in_one & ~in_other).sum()), int((in_other & ~in_one).sum()) + strangers),
        is_bounded=made.is_bounded,
        targets=tuple(firsts[0].targets[place] for place in places),
        keys=tuple(keys[place] for place in places),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """What all models' shared items come to."""

    values: Floats
    design: Design
    is_bounded: bool


def _made(metric: str, everyone: Sequence[TaskItems], shared: Floats, places: Codes, design: Design) -> _Made | None:
    """Values whose mean is the score: of items, or of resamples for a metric of labels."""
    if metric in LABELLED:
        expected = expected_labels(everyone[0], metric, label_codes(everyone, metric), list(places))
        labelled = Labelled(expected, shared.astype(np.intp))
        if len(places) < SMALLEST_SAMPLE or design.cluster_count == 1:
            return None
        return _Made(replicates(labelled, design), replicated(labelled, design), is_bounded=True)
    bounded = metric not in UNBOUNDED and bool(((shared >= 0) & (shared <= 1)).all())
    if not _is_ratio(everyone, metric):
        return _Made(shared, design, bounded)
    keys = everyone[0].keys
    columns = [_aligned(_denominators(items, metric), items, keys)[places] for items in everyone]
    weights = np.array(columns)
    if not (weights.sum(axis=1) > 0).all():
        return None
    return _Made(linearized(shared, weights), design, bounded)


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


def _is_ratio(everyone: Sequence[TaskItems], metric: str) -> bool:
    return any(metric in items.weights for items in everyone)


def _labels(everyone: Sequence[TaskItems], metric: str) -> list[Floats]:
    codes = label_codes(everyone, metric)
    return [given_labels(items, metric, codes) for items in everyone]


def _values(everyone: Sequence[TaskItems], metric: str) -> list[Floats]:
    """Each model's values; an item whose denominator is 0 adds nothing to either sum: it is no missing item."""
    if _is_ratio(everyone, metric):
        return [np.nan_to_num(items.values[metric]) for items in everyone]
    return [items.values[metric] for items in everyone]


def _denominators(items: TaskItems, metric: str) -> Floats:
    values = items.values[metric]
    weights: Floats = np.where(np.isnan(values), 0.0, items.weights.get(metric, np.ones(len(values))))
    return weights


def _aligned(column: Floats, items: TaskItems, keys: tuple[Key, ...]) -> Floats:
    """A model's column in the order of these keys; not a number where an item is missing."""
    if items.keys == keys:
        return column
    places = items.places
    taken = np.array([places.get(key, -1) for key in keys])
    return np.where(taken < 0, np.nan, column[taken])
