"""The smallest difference that can be found, against known numbers and by simulation."""

import numpy as np
import pytest

from reports.power import STANDARD_ERRORS, proportion_power, seed_deviation


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


def test_the_deviation_between_seeds_is_pooled_over_methods() -> None:
    assert seed_deviation([[0.1, 0.3], [0.5, 0.5, 0.5]]) == pytest.approx((0.02 / 3) ** 0.5)
    assert seed_deviation([[0.1], []]) is None
