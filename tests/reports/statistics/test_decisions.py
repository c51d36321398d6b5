"""Equivalence, detectable differences and what would decide, against statsmodels and by simulation."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from reports.statistics import Reference, detectable_difference, equivalence_p, needed, non_inferiority_p


def test_two_one_sided_tests_agree_with_statsmodels() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, 80)
    stock = DescrStatsW(values)

    found = equivalence_p(float(values.mean()), float(stock.std_mean), 0.35, Reference(79))

    assert found == pytest.approx(stock.ttost_mean(-0.35, 0.35)[0])


def test_not_worse_is_one_of_the_two() -> None:
    reference = Reference(50)

    assert non_inferiority_p(0.5, 0.1, 0.1, reference) < 0.001
    assert equivalence_p(0.5, 0.1, 0.1, reference) > 0.99
    assert non_inferiority_p(-0.5, 0.1, 0.1, reference) > 0.99


def test_identical_answers_are_equivalent_where_nothing_varies() -> None:
    assert equivalence_p(0.0, 0.0, 0.01, Reference(10)) == 0.0
    assert equivalence_p(0.02, 0.0, 0.01, Reference(10)) == 1.0


@pytest.mark.parametrize("items", [20, 100, 1000])
def test_the_detectable_difference_has_the_power_that_it_says(items) -> None:
    found = detectable_difference(1 / math.sqrt(items), Reference(items - 1))

    assert TTestPower().power(found, items, 0.05) == pytest.approx(0.8, abs=0.01)


def test_items_needed_are_those_of_statsmodels() -> None:
    found = needed(0.1, 1 / math.sqrt(200), 0.0, Reference(199), items=200, seeds=1)

    assert found.items == pytest.approx(TTestPower().solve_power(0.1, power=0.8, alpha=0.05), rel=0.02)
    assert found.seeds is None


def test_seeds_are_needed_where_items_would_not_help() -> None:
    found = needed(0.05, 0.005, 0.03, Reference(500, 4, 0.9), items=500, seeds=3)

    assert found.items is None
    assert found.seeds is not None
    # With so many seeds, the error is as small as it has to be.
    error = math.hypot(0.005, 0.03 * math.sqrt(3 / found.seeds))
    assert detectable_difference(error, Reference(500, 4, 0.9)) <= 0.05


def test_nothing_decides_where_there_is_no_gap() -> None:
    found = needed(0.0, 0.1, 0.1, Reference(10), items=20, seeds=3)

    assert (found.items, found.seeds) == (None, None)


def test_at_the_margin_equivalence_is_claimed_at_its_level() -> None:
    rng = np.random.default_rng(2)
    claimed = []
    for _ in range(4_000):
        values = rng.normal(0.3, 1, 200)
        claimed.append(equivalence_p(values.mean(), values.std(ddof=1) / math.sqrt(200), 0.3, Reference(199)) <= 0.05)

    assert 0.04 <= np.mean(claimed) <= 0.06
