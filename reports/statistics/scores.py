"""A score with its error, from one or several seeds on the same items.

Two kinds of noise are kept apart. Item noise: these items are a sample of all items there might be. Seed noise:
training again with another seed gives another model. Seeds share their items, so averaging over seeds reduces only
the second; the standard error over items of the mean is taken as that of one seed, which can only be too large.
Intervals here stand beside one score. Whether two differ is for `reports.statistics.difference` to say, which knows
the items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from evals.result import Metric
from reports.statistics.reference import Reference

TAIL = 0.025
Z95 = 1.959963984540054
"""Half the width of a 95 % interval, in standard errors of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score: the mean over seeds, with both kinds of error."""

    value: float
    item_stderr: float | None
    """Standard error over items."""
    seed_sd: float | None
    """Standard deviation between seeds; none with fewer than two."""
    seeds: int
    items: int
    higher_is_better: bool
    interval: Interval | None
    """95 % interval from both kinds of noise, wider than normal where the seeds are few."""


def estimate(metrics: Sequence[Metric]) -> Estimate:
    """Combine one metric of several seeds, scored on the same items."""
    values = [metric.value for metric in metrics]
    errors = [metric.stderr for metric in metrics if metric.stderr is not None and math.isfinite(metric.stderr)]
    value = fmean(values)
    item_stderr = math.sqrt(fmean(error**2 for error in errors)) if errors else None
    seed_sd = stdev(values) if len(values) > 1 and all(math.isfinite(value) for value in values) else None
    items = metrics[0].n
    return Estimate(
        value=value,
        item_stderr=item_stderr,
        seed_sd=seed_sd,
        seeds=len(values),
        items=items,
        higher_is_better=metrics[0].higher_is_better,
        interval=_interval(value, item_stderr, items, seed_sd, len(values)),
    )


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals share a value."""
    return one.low <= other.high and other.low <= one.high


def wilson(proportion: float, n: int) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson 1927), which has a width at 0 and 1 too."""
    shrink = 1 + Z95**2 / n
    centre = (proportion + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * math.sqrt(proportion * (1 - proportion) / n + Z95**2 / (4 * n**2))
    # At 0 and 1 the formula touches them exactly, and rounding must not put the proportion outside its interval.
    return Interval(min(proportion, max(0.0, centre - half)), max(proportion, min(1.0, centre + half)))


def _interval(value: float, stderr: float | None, items: int, seed_sd: float | None, seeds: int) -> Interval | None:
    if stderr is None or not math.isfinite(value):
        return None
    seed_variance = 0.0 if seed_sd is None else seed_sd**2 / seeds
    total = stderr**2 + seed_variance
    widened = 1.0
    if seed_variance > 0:
        widened = Reference(math.inf, seeds - 1, seed_variance / total).quantile(TAIL) / Z95
    low, high = Z95 * stderr, Z95 * stderr
    if _is_proportion(value, stderr, items):
        around = wilson(value, items)
        low, high = value - around.low, around.high - value
    seed_half = Z95 * math.sqrt(seed_variance)
    return Interval(value - widened * math.hypot(low, seed_half), value + widened * math.hypot(high, seed_half))


def _is_proportion(value: float, stderr: float, items: int) -> bool:
    """Whether the error is that of right-or-wrong items; seeds that differ have a mean error slightly below it."""
    if not 0 <= value <= 1 or items < 2:  # noqa: PLR2004  (a variance needs two)
        return False
    expected = math.sqrt(value * (1 - value) / (items - 1))
    return math.isclose(stderr, expected, rel_tol=0.1, abs_tol=1e-9)
