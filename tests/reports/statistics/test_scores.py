"""Scores and their errors, against a second implementation."""

import math

import pytest
from statsmodels.stats.proportion import proportion_confint

from evals.result import Metric
from reports.statistics import Interval, estimate, overlap, wilson


def share(right: int, n: int) -> Metric:
    value = right / n
    return Metric(value=value, stderr=math.sqrt(value * (1 - value) / (n - 1)), n=n, higher_is_better=True)


@pytest.mark.parametrize(("right", "n"), [(0, 40), (1, 40), (20, 40), (39, 40), (40, 40), (3, 5), (812, 1319)])
def test_wilson_agrees_with_statsmodels(right: int, n: int) -> None:
    found = wilson(right / n, n)

    assert (found.low, found.high) == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-12)


def test_one_seed_of_right_or_wrong_items_has_wilsons_interval_and_no_spread() -> None:
    found = estimate([share(0, 40)])

    assert (found.value, found.item_stderr, found.seed_sd) == (0.0, 0.0, None)
    assert found.interval == wilson(0.0, 40)


def test_seeds_average_the_score_but_not_the_noise_of_the_items_they_share() -> None:
    found = estimate([share(20, 40), share(24, 40), share(28, 40)])

    assert found.value == pytest.approx(0.6)
    assert found.seed_sd == pytest.approx(0.1)
    one = share(24, 40).stderr
    assert one is not None
    assert found.item_stderr == pytest.approx(one, rel=0.02)


def test_seeds_that_differ_widen_the_interval() -> None:
    alike, apart = estimate([share(24, 40)] * 3), estimate([share(16, 40), share(24, 40), share(32, 40)])

    assert alike.interval is not None
    assert apart.interval is not None
    assert apart.interval.high > alike.interval.high
    assert apart.interval.low < alike.interval.low


def test_a_loss_has_a_symmetric_interval() -> None:
    found = estimate([Metric(value=0.5, stderr=0.1, n=40, higher_is_better=False)])

    assert found.interval is not None
    assert found.interval.high - 0.5 == pytest.approx(1.959964 * 0.1)
    assert 0.5 - found.interval.low == pytest.approx(1.959964 * 0.1)


def test_a_score_without_an_error_has_no_interval() -> None:
    assert estimate([Metric(value=0.5, stderr=None, n=40, higher_is_better=True)]).interval is None


def test_a_score_that_is_no_number_stays_one_and_has_no_interval() -> None:
    numberless = Metric(value=math.nan, stderr=math.nan, n=40, higher_is_better=False)

    found = estimate([numberless, Metric(value=0.5, stderr=0.1, n=40, higher_is_better=False)])

    assert math.isnan(found.value)
    assert found.interval is None
    assert found.seed_sd is None


def test_intervals_overlap_when_they_share_a_value() -> None:
    assert overlap(Interval(0.1, 0.3), Interval(0.3, 0.5))
    assert overlap(Interval(0.0, 1.0), Interval(0.4, 0.5))
    assert not overlap(Interval(0.1, 0.2), Interval(0.3, 0.5))
