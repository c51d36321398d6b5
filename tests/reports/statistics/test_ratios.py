"""Ratios of sums as means, against Cochran's formula and by simulation."""

import numpy as np
import pytest

from evals.tasks.aggregate import ratio, ratio_stderr
from reports.statistics import linearized
from reports.statistics.clusters import independent_error


def losses(rng: np.random.Generator, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses per token and tokens; long answers are easier."""
    tokens = rng.integers(3, 80, items).astype(float)
    return 0.5 + 3 / tokens + 0.2 * rng.standard_normal(items), tokens


def test_their_mean_is_the_ratio_and_their_error_cochrans() -> None:
    per_token, tokens = losses(np.random.default_rng(1), 50)
    pairs = list(zip(per_token * tokens, tokens, strict=True))

    values = linearized(per_token, tokens)

    assert values.mean() == pytest.approx(ratio(pairs))
    assert np.sqrt(independent_error(values).variance) == pytest.approx(ratio_stderr(pairs))
    assert values.mean() != pytest.approx(per_token.mean(), abs=0.01)


def test_equal_denominators_leave_values_as_they_are() -> None:
    per_token = np.random.default_rng(2).random((3, 20))

    assert linearized(per_token, np.full((3, 20), 7.0)) == pytest.approx(per_token)


def test_an_item_without_a_denominator_adds_nothing() -> None:
    values = linearized(np.array([0.5, 0.9, np.inf]), np.array([2.0, 2.0, 0.0]))

    assert values.mean() == pytest.approx(0.7)
    assert values[2] == pytest.approx(0.7)


def test_each_model_has_its_own_denominators() -> None:
    ratios, denominators = np.array([[0.5, 1.0], [0.2, 0.4]]), np.array([[1.0, 3.0], [4.0, 4.0]])

    assert linearized(ratios, denominators).mean(axis=1) == pytest.approx([3.5 / 4, 0.3])


def test_intervals_of_a_loss_per_token_cover() -> None:
    rng = np.random.default_rng(3)
    everything = losses(rng, 400_000)
    true = float((everything[0] * everything[1]).sum() / everything[1].sum())
    covered = []
    for _ in range(2_000):
        values = linearized(*losses(rng, 100))
        covered.append(abs(values.mean() - true) <= 1.984 * np.sqrt(independent_error(values).variance))

    assert 0.93 <= np.mean(covered) <= 0.97
