"""Resampling by the items' design: strata that were fixed, groups that come whole, and both errors of a difference."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics import Design, Models
from reports.statistics.bootstrap import RESAMPLES, hierarchical_bootstrap, item_weights, resampled_means
from reports.statistics.clusters import Codes, Floats, clustered_error, stratified_error


def spread(values: Floats, design: Design, *, seed: int = 0, resamples: int = 8_000) -> float:
    found = resampled_means(values[None, :], design, np.random.default_rng(seed), resamples)
    return float(found.std(ddof=1))


def subjects() -> tuple[Floats, Codes]:
    """Right or wrong answers in parts of very different difficulty, the smallest of two items."""
    rng = np.random.default_rng(1)
    strata = np.repeat(np.arange(5), [2, 10, 40, 80, 20])
    return (rng.random(152) < np.array([0.5, 0.1, 0.9, 0.4, 0.99])[strata]).astype(float), strata


def test_within_strata_the_spread_is_the_stratified_error() -> None:
    values, strata = subjects()

    found = spread(values, Design(strata=strata))

    assert found == pytest.approx(np.sqrt(stratified_error(values, strata).variance), rel=0.03)
    assert found < 0.85 * spread(values, Design())


def test_within_strata_it_agrees_with_drawing_rows_of_each_group_with_pandas() -> None:
    rng = np.random.default_rng(2)
    strata = np.repeat(np.arange(4), [60, 90, 120, 200])
    values = rng.standard_normal(470) + np.array([0.0, 4.0, -3.0, 1.0])[strata]
    table = pd.DataFrame({"value": values, "stratum": strata})
    groups = table.groupby("stratum")["value"]

    drawn = [groups.sample(frac=1, replace=True, random_state=place).mean() for place in range(1_500)]

    assert spread(values, Design(strata=strata)) == pytest.approx(np.std(drawn, ddof=1), rel=0.07)


def test_without_a_design_it_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).exponential(size=200)

    again = stats.bootstrap((values,), np.mean, n_resamples=8_000, method="percentile", rng=4)

    assert spread(values, Design()) == pytest.approx(again.standard_error, rel=0.04)


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(5)
    clusters = np.unique(rng.integers(0, 40, 300), return_inverse=True)[1]
    values = rng.standard_normal(40)[clusters] + 0.3 * rng.standard_normal(300)

    [weights] = item_weights(Design(clusters=clusters), 300, rng, 50)

    assert all((weights[:, clusters == code] == weights[:, clusters == code][:, :1]).all() for code in range(40))
    assert spread(values, Design(clusters=clusters)) == pytest.approx(
        np.sqrt(clustered_error(values, clusters).variance), rel=0.06
    )


def test_each_stratum_keeps_its_size() -> None:
    _, strata = subjects()

    [weights] = item_weights(Design(strata=strata), len(strata), np.random.default_rng(6), 100)

    for place, size in enumerate(np.bincount(strata)):
        assert (weights[:, strata == place].sum(axis=1) == size).all()


def test_a_stratum_of_one_item_makes_all_items_one_sample() -> None:
    values = np.random.default_rng(7).standard_normal(20)
    alone = Design(strata=np.array([0] + [1] * 19))

    assert spread(values, alone) == spread(values, Design())


def test_blocks_of_resamples_are_as_good_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values, strata = subjects()
    whole = spread(values, Design(strata=strata))

    monkeypatch.setattr("reports.statistics.bootstrap.BLOCK", 1_000)

    assert spread(values, Design(strata=strata)) == pytest.approx(whole, rel=0.04)
    found = resampled_means(values[None, :], Design(strata=strata), np.random.default_rng(0), RESAMPLES)
    assert found.shape == (1, RESAMPLES)


def test_a_difference_over_subjects_is_resampled_within_them() -> None:
    rng = np.random.default_rng(8)
    strata = np.repeat(np.arange(3), 100)
    # The methods differ from subject to subject, which is no chance, and are noisy within.
    gap = np.array([0.0, 2.0, -2.0])[strata]
    first, second = gap + rng.standard_normal((1, 300)), rng.standard_normal((1, 300))
    one, other = Models(first, is_trained=True), Models(second, is_trained=True)

    within = hierarchical_bootstrap(one, other, Design(strata=strata), seed=0)

    of_items = (first - second)[0]
    assert within.item_stderr == pytest.approx(np.sqrt(stratified_error(of_items, strata).variance), rel=0.06)
    assert within.item_stderr < 0.75 * hierarchical_bootstrap(one, other, Design(), seed=0).item_stderr
    assert within == hierarchical_bootstrap(one, other, Design(strata=strata), seed=0)


def test_intervals_within_strata_cover() -> None:
    """Two thousand samples of three subjects; the percentile interval of each."""
    rng = np.random.default_rng(9)
    strata = np.repeat(np.arange(3), [25, 40, 60])
    rates = np.array([0.2, 0.85, 0.5])
    samples = (rng.random((2_000, 125)) < rates[strata]).astype(float)
    true = float((np.bincount(strata) / 125) @ rates)

    drawn = resampled_means(samples, Design(strata=strata), np.random.default_rng(10), 1_000)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1)

    assert 0.93 <= float(((low <= true) & (true <= high)).mean()) <= 0.97
