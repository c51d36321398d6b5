"""The smallest difference that can be found, against known numbers and by simulation."""

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from reports.power import CORRELATION, STANDARD_ERRORS, proportion_power, seed_deviation


@pytest.mark.parametrize(("items", "points"), [(164, 8.5), (500, 4.9), (1319, 3.0), (14042, 0.9)])
def test_known_benchmarks_have_their_known_differences(items: int, points: float) -> None:
    assert 100 * proportion_power(items, 3).detectable == pytest.approx(points, abs=0.06)


def test_four_times_the_items_halve_it_where_seeds_add_nothing() -> None:
    power = proportion_power(500, 3)

    assert power.items_to_halve() == 2000
    assert proportion_power(2000, 3).detectable == pytest.approx(power.detectable / 2)


def test_items_alone_cannot_halve_what_the_seeds_cause() -> None:
    power = proportion_power(14042, 3, seed_sd=0.02)

    assert power.items_to_halve() is None
    assert "more items alone cannot" in power.halved_by()


def test_such_a_difference_is_found_in_four_of_five_studies() -> None:
    power = proportion_power(500, 3, seed_sd=0.01)
    error = power.detectable / STANDARD_ERRORS
    draws = np.random.default_rng(0).normal(power.detectable, error, 40_000)

    assert np.mean(np.abs(draws) > 1.959964 * error) == pytest.approx(0.8, abs=0.01)


# Few items differ in a small benchmark, and a test of their mean is a little generous.
@pytest.mark.parametrize(("items", "within"), [(164, 0.04), (500, 0.025), (1319, 0.025)])
def test_answers_that_are_correlated_so_are_told_apart_in_four_of_five_studies(items: int, within: float) -> None:
    draws, studies = np.random.default_rng(1), 3_000
    difference = proportion_power(items, 3).detectable
    low, high = 0.5 - difference / 2, 0.5 + difference / 2
    # Both models answer by one number on as many items as make their answers' correlation 0.7.
    same = draws.random((studies, items)) < CORRELATION * np.sqrt(low * (1 - low) * high * (1 - high)) / (low * low)
    one, other = draws.random((2, studies, items))
    worse, better = one < low, np.where(same, one, other) < high
    paired = better.astype(np.float32) - worse
    error = paired.std(axis=1, ddof=1) / np.sqrt(items)

    assert np.corrcoef(better.ravel(), worse.ravel())[0, 1] == pytest.approx(CORRELATION, abs=0.01)
    assert np.mean(np.abs(paired.mean(axis=1)) > 1.959964 * error) == pytest.approx(0.8, abs=within)


@pytest.mark.parametrize("items", [164, 14042])
def test_the_difference_is_the_one_that_statsmodels_finds(items: int) -> None:
    power = proportion_power(items, 3)
    effect = NormalIndPower().solve_power(nobs1=items, alpha=0.05, power=0.8, ratio=0)

    assert power.detectable == pytest.approx(effect * power.item_variance**0.5, rel=1e-4)


def test_the_deviation_between_seeds_is_pooled_over_methods() -> None:
    assert seed_deviation([[0.1, 0.3], [0.5, 0.5, 0.5]]) == pytest.approx((0.02 / 3) ** 0.5)
    assert seed_deviation([[0.1], []]) is None
