"""A score with its error, from one or several seeds on the same items.

Two kinds of noise are kept apart. Item noise: these items are a sample of all items there might be. Seed noise:
training again with another seed gives another model. Seeds share their items, so averaging over seeds reduces only
the second; the standard error over items of the mean is taken as that of one seed, which can only be too large.
Intervals here stand beside one score. Whether two differ is for `reports.statistics.difference` to say, which knows
the items.

Where items share groups, the error is the clustered one that differences have, and Wilson's interval is that of as
many independent items as would have this error, with the quantile of a t distribution of the groups' degrees of freedom
(Korn and Graubard, Survey Methodology 24, 1998; Dean and Pagano, Journal of Survey Statistics and Methodology 3, 2015).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from evals.result import Metric
from reports.statistics.reference import Reference

IntervalKind = Literal["Wilson", "normal", "Wilson, clustered", "t, clustered"]
TAIL = 0.025
Z95 = 1.959963984540054
"""Half the width of a 95 % interval, in standard errors of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupedError:
    """The error of one seed's score, clustered by the groups that items share."""

    stderr: float | None
    """Root mean square over seeds; none where all items are of one group."""
    df: float
    """Degrees of freedom."""
    groups: int
    is_share: bool
    """Whether each item is right or wrong."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score: the mean over seeds, with both kinds of error."""

    value: float
    item_stderr: float | None
    """Standard error over items, clustered where they share groups."""
    seed_sd: float | None
    """Standard deviation between seeds; none with fewer than two."""
    seeds: int
    items: int
    higher_is_better: bool
    interval: Interval | None
    """95 % interval from both kinds of noise, wider than normal where the seeds are few."""
    kind: IntervalKind | None
    """What the items' part of the interval is; none without an interval."""
    groups: int | None = None
    """Groups by which the error is clustered; none where items are independent."""


def estimate(metrics: Sequence[Metric], grouped: GroupedError | None = None) -> Estimate:
    """Combine one metric of several seeds, scored on the same items, which may share groups."""
    values = [metric.value for metric in metrics]
    errors = [metric.stderr for metric in metrics if metric.stderr is not None and math.isfinite(metric.stderr)]
    value = fmean(values)
    item_stderr = math.sqrt(fmean(error**2 for error in errors)) if errors else None
    item_stderr = item_stderr if grouped is None else grouped.stderr
    seed_sd = stdev(values) if len(values) > 1 and all(math.isfinite(value) for value in values) else None
    items = metrics[0].n
    around = None
    if item_stderr is not None and math.isfinite(value):
        around = _plain(value, item_stderr, items) if grouped is None else _grouped(value, item_stderr, items, grouped)
    return Estimate(
        value=value,
        item_stderr=item_stderr,
        seed_sd=seed_sd,
        seeds=len(values),
        items=items,
        higher_is_better=metrics[0].higher_is_better,
        interval=None if around is None else _interval(value, around, seed_sd, len(values)),
        kind=None if around is None else around.kind,
        groups=None if grouped is None else grouped.groups,
    )


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals share a value."""
    return one.low <= other.high and other.low <= one.high


def wilson(proportion: float, n: float, z: float = Z95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927), which has a width at 0 and 1 too."""
    shrink = 1 + z**2 / n
    centre = (proportion + z**2 / (2 * n)) / shrink
    half = z / shrink * math.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2))
    # At 0 and 1 the formula touches them exactly, and rounding must not put the proportion outside its interval.
    return Interval(min(proportion, max(0.0, centre - half)), max(proportion, min(1.0, centre + half)))


@dataclass(frozen=True, slots=True)
class _Around:
    """The items' part of an interval."""

    low: float
    """How far it reaches below the score."""
    high: float
    stderr: float
    df: float
    quantile: float
    """Half its width in standard errors, were it symmetric."""
    kind: IntervalKind


def _plain(value: float, stderr: float, items: int) -> _Around:
    if _is_proportion(value, stderr, items):
        around = wilson(value, items)
        return _Around(value - around.low, around.high - value, stderr, math.inf, Z95, "Wilson")
    return _Around(Z95 * stderr, Z95 * stderr, stderr, math.inf, Z95, "normal")


def _grouped(value: float, stderr: float, items: int, grouped: GroupedError) -> _Around:
    df = max(1.0, grouped.df)
    quantile = Reference(df).quantile(TAIL)
    if not grouped.is_share:
        return _Around(quantile * stderr, quantile * stderr, stderr, df, quantile, "t, clustered")
    # Where all answers are alike, they do not tell how alike groups are: each counts as one item.
    worth = min(float(items), value * (1 - value) / stderr**2) if stderr > 0 else float(grouped.groups)
    around = wilson(value, worth, quantile)
    return _Around(value - around.low, around.high - value, stderr, df, quantile, "Wilson, clustered")


def _interval(value: float, around: _Around, seed_sd: float | None, seeds: int) -> Interval:
    seed_variance = 0.0 if seed_sd is None else seed_sd**2 / seeds
    widened = 1.0
    if seed_variance > 0:
        share = seed_variance / (around.stderr**2 + seed_variance)
        widened = Reference(around.df, seeds - 1, share).quantile(TAIL) / around.quantile
    seed_half = around.quantile * math.sqrt(seed_variance)
    low, high = math.hypot(around.low, seed_half), math.hypot(around.high, seed_half)
    return Interval(value - widened * low, value + widened * high)


def _is_proportion(value: float, stderr: float, items: int) -> bool:
    """Whether the error is that of right-or-wrong items; seeds that differ have a mean error slightly below it."""
    if not 0 <= value <= 1 or items < 2:  # noqa: PLR2004  (a variance needs two)
        return False
    expected = math.sqrt(value * (1 - value) / (items - 1))
    return math.isclose(stderr, expected, rel_tol=0.1, abs_tol=1e-9)
