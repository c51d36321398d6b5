"""The learning rate at which a method's search was best, and whether it moves with the rank.

Trials' objectives are fitted by a parabola over the logarithm of the rate; the best rate is its top. Objectives far
off, as of a trial that all but diverged, count as if they were at the edge of the others, so that one does not decide.
Its uncertainty comes from fitting resamples of the trials. Where the top is not inside the rates that were tried, in
one resample of ten or more, the search did not bracket it, and no number is given.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.searched import Axis, Search
from reports.statistics import Interval

Array = npt.NDArray[np.float64]

RESAMPLES, LEVEL, LARGEST_LOSS = 1000, 0.05, 0.1
FEWEST_TRIALS, FEWEST_WITH_RANK = 8, 12
WHISKER = 1.5
RATE, RANK = "learning_rate", "lora_r"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two rates with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Tops:
    """A method's best rate, as a base-10 logarithm, and the same of resamples."""

    value: float
    resampled: Array


def best_rate(search: Search) -> Tops | str:
    """Where a method's search was best, or why that cannot be told."""
    axis = _axis(search, RATE)
    if axis is None:
        return f"the learning rate of {search.name} was not searched"
    if len(search.tried) < FEWEST_TRIALS:
        return f"of {search.name} there are {len(search.tried)} complete trials, {FEWEST_TRIALS} needed"
    rates = np.log10(_numbers(search, axis))
    slopes = _slopes(np.stack([rates, rates**2], axis=1), _merits(search))
    tops = _top(slopes[:, 0], slopes[:, 1])
    inside = (tops > rates.min()) & (tops < rates.max())
    if not inside[0] or inside.mean() < 1 - LARGEST_LOSS:
        return f"the best rate of {search.name} is not bracketed by the rates that were tried"
    return Tops(float(tops[0]), tops[1:][inside[1:]])


def ratio(one: Tops, other: Tops) -> Ratio:
    """How many times the second best rate the first is."""
    count = min(len(one.resampled), len(other.resampled))
    return _as_ratio(one.value - other.value, one.resampled[:count] - other.resampled[:count])


def shift_with_rank(search: Search) -> Ratio | str:
    """Best rate at the highest rank over that at the lowest, or why that cannot be told."""
    rate, rank = _axis(search, RATE), _axis(search, RANK)
    if rate is None or rank is None:
        return f"the learning rate and the rank of {search.name} were not both searched"
    if len(search.tried) < FEWEST_WITH_RANK:
        return f"of {search.name} there are {len(search.tried)} complete trials, {FEWEST_WITH_RANK} needed"
    rates, ranks = np.log10(_numbers(search, rate)), np.log2(_numbers(search, rank))
    if np.ptp(ranks) == 0:
        return f"all complete trials of {search.name} have one rank"
    centred = ranks - ranks.mean()
    slopes = _slopes(np.stack([rates, rates**2, centred, rates * centred], axis=1), _merits(search))
    tops = _top(slopes[:, 0], slopes[:, 1])
    inside = (tops > rates.min()) & (tops < rates.max())
    if not inside[0] or inside.mean() < 1 - LARGEST_LOSS:
        return f"the best rate of {search.name} is not bracketed by the rates that were tried"
    # The top is at -(b + d r) / 2c: per doubling of the rank it moves by -d / 2c.
    moved = _top(slopes[:, 3], slopes[:, 1])
    span = float(np.ptp(ranks))
    return _as_ratio(float(moved[0]) * span, moved[1:][inside[1:]] * span)


def _axis(search: Search, leaf: str) -> Axis | None:
    return next((axis for axis in search.axes if axis.leaf == leaf and axis.is_numeric), None)


def _numbers(search: Search, axis: Axis) -> Array:
    return np.array([axis.number(one.record.config.params[axis.name]) for one in search.tried])


def _merits(search: Search) -> Array:
    """Objectives turned so that more is better, bad ones limited to where a box plot's whisker ends."""
    found = np.array(search.merits())
    lower, upper = np.quantile(found, [0.25, 0.75])
    limited: Array = np.maximum(found, lower - WHISKER * (upper - lower))
    return limited


def _slopes(columns: Array, merits: Array) -> Array:
    """Least-squares slopes, first of the trials, then of their resamples, one row each."""
    count = len(merits)
    picks = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    weights = np.vstack([np.ones(count), picks]).astype(np.float64) / count
    design = np.hstack([np.ones((count, 1)), columns - columns.mean(axis=0)])
    cross = np.einsum("wi,ij,ik->wjk", weights, design, design, optimize=True)
    along = (weights * merits) @ design
    # A little ridge for resamples that hold too few different trials; their tops are then far outside.
    cross = cross + 1e-9 * np.eye(design.shape[1])
    found: Array = np.linalg.solve(cross, along[:, :, None])[:, 1:, 0]
    return found


def _top(linear: Array, square: Array) -> Array:
    """Where parabolas have their top; no number where they open upwards."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(square < 0, -linear / (2 * square), np.nan)


def _as_ratio(value: float, resampled: Array) -> Ratio:
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    return Ratio(10**value, Interval(10 ** float(low), 10 ** float(high)))
