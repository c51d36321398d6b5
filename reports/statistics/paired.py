"""Tests of two models on the same items: could the signs of the differences as well be the other way round.

These tests are exact for the two models at hand, whatever the items' distribution. They know nothing of what training
again would give: with several seeds a side, `reports.statistics.difference` is the one to ask.
"""

import numpy as np
from scipy import stats

from reports.statistics.clusters import Codes, Floats

EXACT_UNITS = 14
"""With no more nonzero differences than this, all sign patterns are gone through."""
FLIPS = 20_000
BLOCK = 4_000_000
"""Signs drawn at a time."""


def mcnemar(one_only: int, other_only: int) -> float:
    """Exact two-sided p-value from the items that only one of two models has right (McNemar 1947; binomial)."""
    differing = one_only + other_only
    return float(stats.binomtest(one_only, differing).pvalue) if differing else 1.0


def sign_flip(differences: Floats, *, seed: int, clusters: Codes | None = None, flips: int = FLIPS) -> float:
    """Two-sided p-value of a sum of paired differences under random signs (Fisher 1935).

    Items of one group keep their signs together. Exact for few differences; else by drawing, where the observed
    pattern counts as one of the drawn (Phipson and Smyth 2010), so that the value is never 0.
    """
    sums = differences if clusters is None else np.bincount(clusters, differences)
    sizes = np.abs(sums[sums != 0])
    if not len(sizes):
        return 1.0
    observed = abs(float(sums.sum()))
    # Sums that are equal but for rounding count as reached.
    threshold = observed - 1e-9 * float(sizes.sum())
    if len(sizes) <= EXACT_UNITS:
        patterns = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float((np.abs((2 * patterns - 1) @ sizes) >= threshold).mean())
    reached = sum(int((np.abs(drawn) >= threshold).sum()) for drawn in _drawn(sizes, flips, seed))
    return (reached + 1) / (flips + 1)


def _drawn(sizes: Floats, flips: int, seed: int) -> list[Floats]:
    """Sums under random signs. Equal differences are drawn together: how many of them are positive is binomial."""
    generator = np.random.default_rng(seed)
    values, counts = np.unique(sizes, return_counts=True)
    step = max(1, BLOCK // len(values))
    blocks = [min(step, flips - start) for start in range(0, flips, step)]
    return [(2.0 * generator.binomial(counts, 0.5, size=(block, len(values))) - counts) @ values for block in blocks]
