"""How good the best of k trials is, so that methods are compared at equal budget; and how much of it is luck."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import integrate, special, stats

from reports.statistics.clusters import Floats

BAND = (0.025, 0.975)
ORDERS = 1_000


@dataclass(frozen=True, slots=True)
class Curve:
    """A value by budget, with a band."""

    budgets: Sequence[float]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def expected_best(values: Sequence[float], k: int) -> float:
    """Mean of the largest of k values drawn without replacement.

    Exact, by order statistics: the unbiased form (Tang et al., ACL 2020) of the expected maximum of Dodge et al.
    (EMNLP 2019), who draw with replacement.
    """
    ordered = sorted(values)
    total = comb(len(ordered), k)
    # The value at a place is the largest of those C(place, k - 1) draws that take all others from below it.
    return sum(value * comb(place, k - 1) for place, value in enumerate(ordered)) / total


def best_of_curve(values: Sequence[float], *, seed: int, resamples: int = ORDERS) -> Curve:
    """Expected best of 1, 2, … trials, with a 95 % bootstrap band: another search might have drawn other trials.

    At k near the number of trials the band narrows towards what was seen, as any bootstrap of a maximum does.
    """
    count = len(values)
    ordered = np.sort(np.asarray(values, dtype=float))
    generator = np.random.default_rng(seed)
    weights = _order_weights(count)
    again = np.sort(generator.choice(ordered, size=(resamples, count)), axis=1) @ weights.T
    low, high = np.quantile(again, BAND, axis=0)
    budgets = [float(k) for k in range(1, count + 1)]
    return Curve(budgets, list(map(float, weights @ ordered)), list(map(float, low)), list(map(float, high)))


def best_by_cost(values: Sequence[float], costs: Sequence[float], *, seed: int, points: int = 60) -> Curve:
    """Mean best value by what was spent, over random orders of the trials; the band holds 95 % of the orders.

    It begins where every order has ended its first trial, and ends with the sum of all costs.
    """
    spent = np.asarray(costs, dtype=float)
    budgets = np.linspace(float(spent.max()), float(spent.sum()), points)
    generator = np.random.default_rng(seed)
    found = np.empty((ORDERS, points))
    for place in range(ORDERS):
        order = generator.permutation(len(values))
        ended = np.cumsum(spent[order])
        best = np.maximum.accumulate(np.asarray(values, dtype=float)[order])
        # The last trial that has ended within each budget; rounding must not lose the one that fills it.
        found[place] = best[np.searchsorted(ended * (1 - 1e-12), budgets, side="right") - 1]
    low, high = np.quantile(found, BAND, axis=0)
    return Curve(
        list(map(float, budgets)), list(map(float, found.mean(axis=0))), list(map(float, low)), list(map(float, high))
    )


def area_under(curve: Curve, start: float, end: float) -> float | None:
    """Mean height of a curve between two budgets, by trapezoids: the area under it over its width.

    None where the curve does not reach over the whole range.
    """
    budgets = np.asarray(curve.budgets)
    if not budgets[0] <= start < end <= budgets[-1]:
        return None
    grid = np.unique(np.concatenate([budgets[(budgets > start) & (budgets < end)], [start, end]]))
    heights = np.interp(grid, budgets, np.asarray(curve.values))
    return float(np.trapezoid(heights, grid) / (end - start))


def expected_largest(k: int) -> float:
    """Mean of the largest of k standard normal values, by integration (David and Nagaraja, Order Statistics)."""
    if k == 1:
        return 0.0

    def weighed(value: float) -> float:
        return float(value * k * stats.norm.pdf(value) * stats.norm.cdf(value) ** (k - 1))

    return float(integrate.quad(weighed, -9, 9)[0])


@dataclass(frozen=True, slots=True)
class Optimism:
    """How much better the best of some trials looks than it is."""

    at_most: float
    """Were all trials equally good."""
    expected: float
    """With the trials as different as they look, less what noise adds to their differences."""


def selection_optimism(values: Sequence[float], stderr: float, *, seed: int, draws: int = 4_000) -> Optimism:
    """Optimism of the largest of noisy values.

    Values are drawn towards their mean by the share of their variance that is noise (Efron and Morris 1975); then
    noise is put on them again, and the best one's noise is averaged. Noise is taken as independent between trials:
    on shared items it is less, so both numbers are on the high side.
    """
    seen = np.asarray(values, dtype=float)
    spread = float(seen.var(ddof=1)) if len(seen) > 1 else 0.0
    kept = max(0.0, 1 - stderr**2 / spread) if spread > 0 else 0.0
    true = seen.mean() + kept * (seen - seen.mean())
    noise = stderr * np.random.default_rng(seed).standard_normal((draws, len(seen)))
    chosen = np.argmax(true + noise, axis=1)
    return Optimism(
        at_most=stderr * expected_largest(len(seen)), expected=float(noise[np.arange(draws), chosen].mean())
    )


def _order_weights(count: int) -> Floats:
    """Row k - 1: how much each ordered value counts in the expected best of k, C(place, k - 1) / C(count, k)."""
    place = np.arange(count)[None, :]
    k = np.arange(1, count + 1)[:, None]
    # Where fewer than k - 1 values lie below, the value is never the largest: gammaln gives an infinite denominator.
    choose_below = special.gammaln(place + 1) - special.gammaln(k) - special.gammaln(np.maximum(place - k + 2, 0))
    choose_all = special.gammaln(count + 1) - special.gammaln(k + 1) - special.gammaln(count - k + 1)
    weights: Floats = np.exp(choose_below - choose_all)
    return weights
