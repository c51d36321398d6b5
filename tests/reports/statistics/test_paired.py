"""Tests of two models on the same items, against SciPy and statsmodels, and by simulation under the null."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as stock_mcnemar

from reports.statistics import mcnemar, sign_flip


@pytest.mark.parametrize(("one_only", "other_only"), [(0, 0), (1, 0), (6, 1), (3, 3), (40, 22), (12, 12)])
def test_mcnemar_agrees_with_statsmodels(one_only, other_only) -> None:
    expected = stock_mcnemar([[7, one_only], [other_only, 9]], exact=True).pvalue

    assert mcnemar(one_only, other_only) == pytest.approx(min(1.0, expected))


def test_few_differences_are_flipped_exactly_as_scipy_does() -> None:
    differences = np.random.default_rng(1).standard_normal(11) + 0.4

    expected = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue

    assert sign_flip(differences, seed=0) == pytest.approx(float(expected))


def test_many_differences_are_flipped_by_drawing_as_scipy_does() -> None:
    differences = np.random.default_rng(2).standard_normal(60) + 0.25
    rng = np.random.default_rng(3)

    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
    ).pvalue

    assert sign_flip(differences, seed=0) == pytest.approx(float(expected), abs=0.006)


def test_zero_one_items_give_mcnemars_value() -> None:
    differences = np.concatenate([np.ones(17), -np.ones(6), np.zeros(50)])

    assert sign_flip(differences, seed=4) == pytest.approx(mcnemar(17, 6), abs=0.003)


def test_the_value_is_the_same_each_time_and_never_0() -> None:
    differences = np.full(300, 0.5)

    assert sign_flip(differences, seed=1, flips=1000) == sign_flip(differences, seed=1, flips=1000) == 1 / 1001


def test_items_of_one_group_are_flipped_together() -> None:
    clusters = np.repeat(np.arange(8), 25)
    differences = np.repeat([1.0, 1, 1, 1, 1, 1, 1, -1], 25)

    # Of 256 patterns of signs, those with at most one group on either side reach this sum.
    assert sign_flip(differences, seed=0, clusters=clusters) == pytest.approx(2 * (1 + 8) / 256)
    assert sign_flip(differences, seed=0) < 0.001


def test_no_difference_at_all_is_no_evidence() -> None:
    assert sign_flip(np.zeros(30), seed=0) == 1.0


def test_under_the_null_it_rejects_at_its_level_and_less_than_one_that_ignores_groups() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(12), 10)
    kept, ignored = [], []
    for _ in range(1_000):
        differences = rng.standard_normal(12)[clusters] + rng.standard_normal(120)
        kept.append(sign_flip(differences, seed=0, clusters=clusters) <= 0.05)
        ignored.append(sign_flip(differences, seed=0, flips=500) <= 0.05)

    assert 0.03 <= np.mean(kept) <= 0.07
    assert np.mean(ignored) > 0.2
