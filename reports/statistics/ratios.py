"""Metrics that are ratios of sums, as if they were means.

A loss per token is the sum of all losses over the sum of all tokens. Taylor's expansion (Cochran, Sampling Techniques,
chapter 6; the delta method) gives each item a value, `ratio + (numerator - ratio * denominator) * items / sum of
denominators`, whose mean is the ratio exactly and whose variance is the ratio's to first order. Everything that is
right for means is then right for ratios: pairing, groups, strata and seeds.
"""

import numpy as np

from reports.statistics.clusters import Floats


def linearized(ratios: Floats, denominators: Floats) -> Floats:
    """Values whose mean over items is the ratio of sums; the last axis is that of the items.

    Takes each item's own ratio and its denominator; an item with denominator 0 may have any ratio.
    """
    numerators = np.where(denominators > 0, ratios, 0.0) * denominators
    total = denominators.sum(axis=-1, keepdims=True)
    ratio = numerators.sum(axis=-1, keepdims=True) / total
    values: Floats = ratio + (numerators - ratio * denominators) * denominators.shape[-1] / total
    return values
