"""Scores whose items share groups: the interval against a second implementation, and whether it covers."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from evals.result import Metric
from reports.statistics import GroupedError, estimate, wilson
from reports.statistics.clusters import Codes, Floats, clustered_error


def metric(values: Floats) -> Metric:
    stderr = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Metric(value=float(values.mean()), stderr=stderr, n=len(values), higher_is_better=True)


def grouped(values: Floats, clusters: Codes, *, is_share: bool = True) -> GroupedError:
    error = clustered_error(values, clusters)
    return GroupedError(math.sqrt(error.variance), error.df, int(clusters.max()) + 1, is_share)


def answers(rng: np.random.Generator, groups: int, size: int, rate: float, alike: float) -> tuple[Floats, Codes]:
    """Right or wrong answers; `alike` of the latent variance lies between groups of about this size."""
    clusters = np.repeat(np.arange(groups), rng.integers(max(1, size // 2), 2 * size, groups))
    level = math.sqrt(alike) * rng.standard_normal(groups)[clusters]
    latent = level + math.sqrt(1 - alike) * rng.standard_normal(len(clusters))
    return (latent < stats.norm.ppf(rate)).astype(float), clusters


def test_the_error_is_near_statsmodels_clustered_one() -> None:
    values, clusters = answers(np.random.default_rng(1), 60, 8, 0.6, 0.4)
    fitted = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": clusters})

    found = estimate([metric(values)], grouped(values, clusters))

    assert found.item_stderr == pytest.approx(fitted.bse[0], rel=0.03)
    assert found.groups == 60


def test_the_interval_is_wilsons_for_what_the_items_are_worth() -> None:
    values, clusters = answers(np.random.default_rng(2), 40, 10, 0.7, 0.3)
    error = grouped(values, clusters)
    assert error.stderr is not None
    rate = float(values.mean())
    worth = rate * (1 - rate) / error.stderr**2
    tail = 2 * stats.norm.sf(stats.t.ppf(0.975, error.df))

    found = estimate([metric(values)], error)

    assert worth < 0.5 * len(values)
    assert found.kind == "Wilson, clustered"
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(
        proportion_confint(rate * worth, worth, alpha=tail, method="wilson"), abs=1e-9
    )


def test_items_are_never_worth_more_than_they_are() -> None:
    # One right and one wrong in each group: the clustered error is 0.
    values, clusters = np.tile([0.0, 1.0], 20), np.repeat(np.arange(20), 2)
    some = values.copy()
    some[0] = 1.0

    found = estimate([metric(some)], grouped(some, clusters))

    assert found.interval is not None
    around = wilson(float(some.mean()), 40)
    assert found.interval.high - found.interval.low >= around.high - around.low


def test_where_all_answers_are_alike_each_group_counts_as_one_item() -> None:
    values, clusters = np.zeros(60), np.repeat(np.arange(6), 10)

    found = estimate([metric(values)], grouped(values, clusters))

    assert found.interval is not None
    assert found.interval.low == 0.0
    assert found.interval.high > wilson(0.0, 6).high


def test_a_loss_has_a_t_interval_with_the_groups_degrees_of_freedom() -> None:
    found = estimate(
        [Metric(value=0.5, stderr=0.01, n=40, higher_is_better=False)], GroupedError(0.03, 6.0, 7, is_share=False)
    )

    assert found.interval is not None
    assert found.kind == "t, clustered"
    assert found.interval.high - 0.5 == pytest.approx(stats.t.ppf(0.975, 6.0) * 0.03)


def test_one_group_alone_tells_no_error() -> None:
    found = estimate(
        [Metric(value=0.5, stderr=0.01, n=40, higher_is_better=True)], GroupedError(None, 1.0, 1, is_share=True)
    )

    assert (found.item_stderr, found.interval, found.kind) == (None, None, None)


@pytest.mark.parametrize(
    ("groups", "rate", "alike"), [(15, 0.5, 0.3), (15, 0.9, 0.3), (40, 0.8, 0.5), (40, 0.5, 0.0), (100, 0.05, 0.3)]
)
def test_intervals_of_grouped_items_cover(groups: int, rate: float, alike: float) -> None:
    rng = np.random.default_rng(3)
    covered, ignoring = [], []
    for _ in range(1_000):
        values, clusters = answers(rng, groups, 8, rate, alike)
        found = estimate([metric(values)], grouped(values, clusters)).interval
        plain = wilson(float(values.mean()), len(values))
        assert found is not None
        covered.append(found.low <= rate <= found.high)
        ignoring.append(plain.low <= rate <= plain.high)

    assert 0.93 <= np.mean(covered) <= 0.985
    if alike >= 0.3:
        assert np.mean(ignoring) < np.mean(covered) - 0.04
