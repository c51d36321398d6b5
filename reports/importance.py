"""How much each searched setting mattered, with its uncertainty: nothing is called important that chance would give.

Trials are ranked by their objective, so that one diverged trial does not decide, and the ranks are explained by an
additive model: a curve for each setting. A setting's importance is its share of the explained variance, averaged over
all orders in which settings can enter the model (Lindeman, Merenda and Gold 1980; the Shapley value of R²), less what
as many free parameters explain by chance, as in the adjusted R². Intervals come from the jackknife. A setting is
told from noise where its share exceeds what it reaches in 19 of 20 shuffles of the trials, for the largest of all
settings at once. Samplers look closer where trials were good, so shares are those among the trials that ran.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, t

from reports.searched import Axis, Search
from reports.statistics import Interval

Array = npt.NDArray[np.float64]

TRIALS_PER_PARAMETER = 2
"""Trials that each free parameter of the model takes, besides the mean: with fewer, nothing is said."""
GROUPS, SHUFFLES = 200, 400
CONFIDENCE = 0.95
TRIALS_FOR_A_CURVE = 60
"""From so many trials on, a setting's curve may bend at more places."""
KNOTS = (0.25, 0.5, 0.75)
NAMED_LEVELS = 8
MOST_EXACT_AXES = 6
"""Up to so many settings, all orders are averaged; beyond, each alone and each last."""
RIDGE = 1e-9
USUAL = ("learning_rate", "lora_r")


@dataclass(frozen=True, slots=True)
class Share:
    """One setting's importance."""

    axis: Axis
    value: float
    """Share of the variance of the trials' ranks that the setting accounts for, chance taken off, not below 0."""
    interval: Interval
    """95 % interval from leaving trials out in turn."""
    p_value: float
    """Share of shuffles in which any setting reached as much."""

    @property
    def is_told(self) -> bool:
        """Whether it stands out from what chance gives."""
        return self.p_value <= 1 - CONFIDENCE


@dataclass(frozen=True, slots=True)
class Importance:
    """What a method's trials say of its settings."""

    name: str
    """The method's."""
    trials: int
    """Complete trials that it rests on."""
    needed: int
    """Trials that it takes to say anything."""
    shares: tuple[Share, ...]
    """The largest first; empty where there are too few trials."""

    @property
    def explained(self) -> float:
        """Share of the variance that all settings together account for; the rest is interplay and noise."""
        return sum(share.value for share in self.shares)


@dataclass(frozen=True, slots=True)
class _Design:
    """The model's columns, and which of them belong to each setting."""

    columns: Array
    groups: tuple[tuple[int, ...], ...]


def importance(search: Search) -> Importance:
    """Measure one method's settings."""
    axes, count = search.axes, len(search.tried)
    if not axes or count == 0:
        return Importance(search.name, count, needed=0, shares=())
    design = _design(search)
    needed = 1 + TRIALS_PER_PARAMETER * design.columns.shape[1]
    merits = np.array(search.merits())
    if count < needed or np.ptp(merits) == 0:
        return Importance(search.name, count, needed, ())
    values, errors, p_values = _measure(design, rankdata(merits))
    wide = float(t.ppf((1 + CONFIDENCE) / 2, count - 1 - design.columns.shape[1]))
    shares = [
        Share(axis, max(0.0, float(value)), _interval(float(value), wide * float(error)), float(p_value))
        for axis, value, error, p_value in zip(axes, values, errors, p_values, strict=True)
    ]
    return Importance(
        search.name, count, needed, tuple(sorted(shares, key=lambda share: (-share.value, share.axis.name)))
    )


def _measure(design: _Design, ranks: Array) -> tuple[Array, Array, Array]:
    """Each setting's share, its standard error and its p-value."""
    count = len(ranks)
    chance = np.random.default_rng(0)
    shuffled = np.stack([ranks, *(chance.permutation(ranks) for _ in range(SHUFFLES))])
    plain = _shares(design, np.ones((1, count)), shuffled)
    values, null = plain[0], plain[1:].max(axis=1)
    p_values = (1 + (null[:, None] >= values[None, :] - 1e-12).sum(axis=0)) / (1 + SHUFFLES)
    return values, _jackknife(design, ranks), p_values


def _jackknife(design: _Design, ranks: Array) -> Array:
    """Standard errors from leaving trials out in turn, by groups where they are many (Efron and Tibshirani 1993)."""
    count = len(ranks)
    groups = min(count, GROUPS)
    left_out = np.arange(groups)[:, None] == np.arange(count)[None, :] % groups
    found = _shares(design, 1.0 - left_out, ranks[None, :])
    errors: Array = np.sqrt((groups - 1) / groups * ((found - found.mean(axis=0)) ** 2).sum(axis=0))
    return errors


def _interval(value: float, half: float) -> Interval:
    return Interval(max(0.0, value - half), max(0.0, min(1.0, value + half)))


def _shares(design: _Design, weights: Array, outcomes: Array) -> Array:
    """Adjusted shares by setting: one row for each pair of weights (of trials) and outcomes, either of which is one."""
    groups = range(len(design.groups))
    cross, along, total = _moments(design.columns, weights, outcomes)
    found: dict[frozenset[int], Array] = {frozenset(): np.zeros(max(len(weights), len(outcomes)))}

    def explained(members: frozenset[int]) -> Array:
        if members not in found:
            columns = [column for group in sorted(members) for column in design.groups[group]]
            found[members] = _explained(cross[:, columns][:, :, columns], along[:, columns], total)
        return found[members]

    raw = [
        sum(
            (weight * (explained(before | {group}) - explained(before)) for before, weight in _orders(group, groups)),
            start=np.zeros(max(len(weights), len(outcomes))),
        )
        for group in groups
    ]
    everything = explained(frozenset(groups))
    spare = weights.shape[1] - 1 - design.columns.shape[1]
    taken = [(1 - everything) * len(design.groups[group]) / spare for group in groups]
    return np.stack([one - chance for one, chance in zip(raw, taken, strict=True)], axis=1)


def _orders(group: int, groups: Sequence[int]) -> list[tuple[frozenset[int], float]]:
    """The sets of settings that may come before this one, each with the share of orders in which they do."""
    others = [other for other in groups if other != group]
    if len(groups) > MOST_EXACT_AXES:
        return [(frozenset(), 0.5), (frozenset(others), 0.5)]
    return [
        (frozenset(before), 1 / (len(groups) * math.comb(len(others), size)))
        for size in range(len(groups))
        for before in itertools.combinations(others, size)
    ]


def _moments(columns: Array, weights: Array, outcomes: Array) -> tuple[Array, Array, Array]:
    """Weighted covariances: among columns, of columns with outcomes, and the outcomes' variance."""
    share = weights / weights.sum(axis=1, keepdims=True)
    centre, level = share @ columns, (share * outcomes).sum(axis=1)
    cross = np.einsum("wi,ij,ik->wjk", share, columns, columns, optimize=True)
    cross = cross - centre[:, :, None] * centre[:, None, :]
    along = (share * outcomes) @ columns - centre * level[:, None]
    total = (share * outcomes**2).sum(axis=1) - level**2
    return cross, along, total


def _explained(cross: Array, along: Array, total: Array) -> Array:
    """R² of a regression on these columns; a little ridge stands in where a resample leaves a column empty."""
    size = cross.shape[1]
    scale = np.trace(cross, axis1=1, axis2=2)[:, None, None] / size + 1e-12
    slopes = np.linalg.solve(cross + RIDGE * scale * np.eye(size), along[:, :, None])[:, :, 0]
    shares: Array = np.clip((slopes * along).sum(axis=1) / np.maximum(total, 1e-12), 0.0, 1.0)
    return shares


def _design(search: Search) -> _Design:
    blocks = [_columns(axis, np.array(search.places(axis)), len(search.tried)) for axis in search.axes]
    ends = np.cumsum([block.shape[1] for block in blocks])
    groups = [tuple(range(end - block.shape[1], end)) for end, block in zip(ends, blocks, strict=True)]
    return _Design(np.hstack(blocks), tuple(groups))


def _columns(axis: Axis, places: Array, count: int) -> Array:
    """A setting's curve: a parabola, with bends added where trials allow; for names, one level each."""
    if not axis.is_numeric:
        levels = sorted(set(places.tolist()))[1:NAMED_LEVELS]
        return np.stack([(places == level).astype(np.float64) for level in levels] or [np.zeros(count)], axis=1)
    distinct = len(set(places.tolist()))
    columns = [places, places**2][: max(1, distinct - 1)]
    if count >= TRIALS_FOR_A_CURVE and distinct > len(KNOTS) + 3:
        columns += [np.maximum(0.0, places - knot) ** 2 for knot in np.quantile(places, KNOTS)]
    return np.stack(columns, axis=1)


def ordered_axes(search: Search, found: Importance) -> list[Axis]:
    """A method's settings, the most important first; where that cannot be told, the rate and the rank first."""
    place: Mapping[str, int] = {share.axis.name: at for at, share in enumerate(found.shares)}
    usual = {leaf: at for at, leaf in enumerate(USUAL)}
    return sorted(search.axes, key=lambda axis: (place.get(axis.name, 0), usual.get(axis.leaf, len(usual)), axis.name))
