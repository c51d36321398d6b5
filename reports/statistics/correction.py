"""Many comparisons in one report: p-values that are read as if each were the only one."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false verdict (Holm 1979), whatever their dependence."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the share of false verdicts (Benjamini and Hochberg 1995)."""
    return [float(value) for value in stats.false_discovery_control(p_values)] if p_values else []
