"""Errors of means whose items are not independent, against statsmodels, matrices and simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from reports.statistics import Design, clustered_error, codes_of, design_effect
from reports.statistics.clusters import independent_error, stratified_error


def in_groups(rng: np.random.Generator, groups: int, items: int, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of items in groups of unequal sizes; `alike` is the groups' share of the variance."""
    drawn = np.sort(np.concatenate([np.arange(groups), rng.integers(0, groups, items - groups)]))
    effect = np.sqrt(alike) * rng.standard_normal(groups)
    return effect[drawn] + np.sqrt(1 - alike) * rng.standard_normal(items), drawn


@pytest.mark.parametrize(("correction", "is_small_sample"), [("CR0", False), ("CR1", True)])
def test_clustered_errors_agree_with_statsmodels(correction, is_small_sample) -> None:
    values, clusters = in_groups(np.random.default_rng(1), 9, 70, 0.4)

    found = clustered_error(values, clusters, correction)

    options = {"groups": clusters, "use_correction": is_small_sample}
    fitted = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds=options)
    # statsmodels multiplies by (N - 1) / (N - K) besides, which for a mean is 1.
    assert found.variance == pytest.approx(float(fitted.bse[0]) ** 2, rel=1e-9)


def test_the_bell_mccaffrey_correction_agrees_with_its_definition_by_matrices() -> None:
    values, clusters = in_groups(np.random.default_rng(2), 6, 30, 0.4)
    count = len(values)
    residuals = values - values.mean()
    leverage = np.full((count, count), 1 / count)
    total, vectors = 0.0, []
    for group in range(6):
        inside = clusters == group
        block = np.eye(inside.sum()) - leverage[np.ix_(inside, inside)]
        eigenvalues, eigenvectors = np.linalg.eigh(block)
        root = eigenvectors @ np.diag(eigenvalues**-0.5) @ eigenvectors.T
        total += float((np.ones(inside.sum()) @ root @ residuals[inside]) ** 2) / count**2
        vectors.append((np.eye(count) - leverage)[:, inside] @ root @ np.ones(inside.sum()) / count)
    alike = (clusters[:, None] == clusters[None, :]).astype(float)
    moments = np.array(vectors) @ alike @ np.array(vectors).T

    found = clustered_error(values, clusters)

    assert found.variance == pytest.approx(total)
    assert found.df == pytest.approx(np.trace(moments) ** 2 / (moments**2).sum())


def test_groups_of_one_item_change_nothing() -> None:
    values = np.random.default_rng(3).standard_normal(40)

    found = clustered_error(values, np.arange(40))

    assert found.variance == pytest.approx(independent_error(values).variance)
    assert found.df == pytest.approx(39)
    assert Design(clusters=np.arange(40)).error_of_mean(values).df == 39


def test_equal_groups_have_one_degree_of_freedom_less_than_there_are() -> None:
    values = np.random.default_rng(4).standard_normal(40)

    assert clustered_error(values, np.repeat(np.arange(8), 5)).df == pytest.approx(7)


def test_one_large_group_leaves_few_degrees_of_freedom() -> None:
    values = np.random.default_rng(5).standard_normal(60)

    assert clustered_error(values, np.concatenate([np.zeros(51, int), np.arange(1, 10)])).df < 2


@pytest.mark.parametrize(("groups", "alike"), [(8, 0.5), (40, 0.5), (40, 0.0)])
def test_clustered_intervals_cover(groups, alike) -> None:
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(2_000):
        values, clusters = in_groups(rng, groups, 200, alike)
        error = clustered_error(values, clusters)
        covered.append(abs(values.mean()) <= stats.t.ppf(0.975, error.df) * np.sqrt(error.variance))

    assert 0.93 <= np.mean(covered) <= 0.97


def test_errors_that_ignore_the_groups_do_not_cover() -> None:
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(500):
        values, _ = in_groups(rng, 20, 200, 0.5)
        covered.append(abs(values.mean()) <= 1.96 * np.sqrt(independent_error(values).variance))

    assert np.mean(covered) < 0.75


def test_the_design_effect_is_that_of_kish() -> None:
    rng = np.random.default_rng(8)
    clusters = np.repeat(np.arange(400), 10)
    values = np.repeat(rng.standard_normal(400) * np.sqrt(0.3), 10) + rng.standard_normal(4000) * np.sqrt(0.7)

    # 1 + (size - 1) * correlation within groups
    assert design_effect(values, clusters) == pytest.approx(1 + 9 * 0.3, rel=0.1)


def test_strata_take_the_differences_between_them_out_of_the_error() -> None:
    rng = np.random.default_rng(9)
    strata = np.repeat([0, 1, 2], [30, 50, 120])
    values = np.array([0.0, 5.0, -3.0])[strata] + rng.standard_normal(200)
    parts = [values[strata == place] for place in range(3)]

    found = stratified_error(values, strata)

    assert found.variance == pytest.approx(sum((len(part) / 200) ** 2 * part.var(ddof=1) / len(part) for part in parts))
    assert found.variance < 0.2 * independent_error(values).variance
    assert 150 < found.df <= 197


def test_a_stratum_of_one_item_makes_the_error_that_of_one_sample() -> None:
    values = np.random.default_rng(10).standard_normal(20)

    found = stratified_error(values, np.array([0] + [1] * 19))

    assert found == independent_error(values)


def test_names_become_numbers_from_0_on() -> None:
    assert codes_of(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
