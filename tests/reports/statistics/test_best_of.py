"""The best of k: by going through all draws, by simulation, and against published numbers."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from reports.statistics.best_of import (
    Curve,
    area_under,
    best_by_cost,
    best_of_curve,
    expected_best,
    expected_largest,
    selection_optimism,
)

VALUES = [0.31, 0.52, 0.48, 0.52, 0.12, 0.40, 0.33]


def test_the_expected_best_is_the_mean_over_all_draws() -> None:
    curve = best_of_curve(VALUES, seed=0)

    for k in range(1, len(VALUES) + 1):
        expected = fmean(max(drawn) for drawn in combinations(VALUES, k))
        assert expected_best(VALUES, k) == pytest.approx(expected)
        assert curve.values[k - 1] == pytest.approx(expected)


def test_the_curve_of_a_thousand_trials_is_exact_too() -> None:
    values = list(np.random.default_rng(1).standard_normal(1000))

    curve = best_of_curve(values, seed=0, resamples=20)

    for k in (1, 2, 30, 500, 1000):
        assert curve.values[k - 1] == pytest.approx(expected_best(values, k), rel=1e-8)


def test_bands_hold_what_other_searches_give() -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(200):
        curve = best_of_curve(list(rng.standard_normal(40)), seed=0, resamples=200)
        held.append(curve.low[3] <= expected_largest(4) <= curve.high[3])

    assert 0.88 <= np.mean(held) <= 0.99


def test_by_cost_a_cheap_method_has_more_trials_for_the_same_money() -> None:
    cheap = best_by_cost(VALUES, [10.0] * 7, seed=0)
    dear = best_by_cost(VALUES, [100.0] * 7, seed=0)

    assert (cheap.budgets[0], cheap.budgets[-1], cheap.values[-1]) == pytest.approx((10, 70, 0.52))
    assert dear.values[0] == pytest.approx(fmean(VALUES), abs=0.02)
    assert np.interp(40, cheap.budgets, cheap.values) > dear.values[0] + 0.1


def test_the_area_is_the_mean_height() -> None:
    curve = Curve([0.0, 10.0, 20.0], [0.0, 1.0, 1.0], [0.0] * 3, [1.0] * 3)

    assert area_under(curve, 0, 20) == pytest.approx(0.75)
    assert area_under(curve, 5, 15) == pytest.approx(0.875)
    assert area_under(curve, 5, 25) is None


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 0.56419), (5, 1.16296), (10, 1.53875), (30, 2.04276)])
def test_the_largest_of_k_normal_values_is_that_of_the_tables(k, expected) -> None:
    assert expected_largest(k) == pytest.approx(expected, abs=1e-4)


def test_equal_trials_look_better_than_they_are_by_the_known_amount() -> None:
    rng = np.random.default_rng(3)
    seen = [rng.normal(0.5, 0.05, 30) for _ in range(200)]
    # The best of 30 equal trials on 100 items: 10.2 points.
    truly = np.mean([values.max() - 0.5 for values in seen])

    found = [selection_optimism(list(values), 0.05, seed=0, draws=500) for values in seen]

    assert found[0].at_most == pytest.approx(0.102, abs=0.001)
    assert np.mean([one.expected for one in found]) == pytest.approx(truly, rel=0.12)


def test_trials_that_truly_differ_leave_little_to_luck() -> None:
    found = selection_optimism([0.1, 0.3, 0.5, 0.7], 0.01, seed=0)

    assert found.expected < 0.1 * found.at_most
