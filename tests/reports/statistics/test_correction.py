"""Corrections for many comparisons, against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from reports.statistics import benjamini_hochberg, holm

P_VALUES = [[0.2], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.001, 1.0], list(np.random.default_rng(1).random(40) ** 3)]


@pytest.mark.parametrize("p_values", P_VALUES)
def test_corrections_agree_with_statsmodels(p_values) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


def test_nothing_needs_no_correction() -> None:
    assert holm([]) == []
    assert benjamini_hochberg([]) == []


def test_under_the_null_holm_keeps_the_chance_of_any_false_verdict() -> None:
    rng = np.random.default_rng(2)
    any_false = [min(holm(list(rng.random(9)))) <= 0.05 for _ in range(4_000)]

    assert 0.04 <= np.mean(any_false) <= 0.06
