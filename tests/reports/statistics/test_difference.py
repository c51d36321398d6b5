"""The difference of two sides with seed and item noise: by hand, by resampling, and by simulation."""

import math

import numpy as np
import pytest

from reports.statistics import Design, Models, Reference, difference, linearized
from reports.statistics.bootstrap import hierarchical_bootstrap
from reports.statistics.clusters import Floats


def models(values: Floats, *, is_trained: bool = True) -> Models:
    return Models(np.atleast_2d(np.asarray(values, dtype=float)), is_trained)


def side(rng: np.random.Generator, difficulty: Floats, count: int, *, seed: float, own: float) -> Floats:
    """Scores of several models: shared difficulty, a shift for each model, and each model's own errors."""
    shift = seed * rng.standard_normal((count, 1))
    return difficulty + shift + own * rng.standard_normal((count, len(difficulty)))


def test_one_model_a_side_has_bonett_and_prices_interval_and_mcnemars_p() -> None:
    first = np.array([1.0] * 50 + [1.0] * 12 + [0.0] * 5 + [0.0] * 33)
    second = np.array([1.0] * 50 + [0.0] * 12 + [1.0] * 5 + [0.0] * 33)

    found = difference(models(first), models(second, is_trained=False), Design(), is_bounded=True)

    # Bonett and Price 2012: one more pair in each direction, n + 2 in all; here with a t quantile.
    more, less = 13 / 102, 6 / 102
    half = math.sqrt((more + less - (more - less) ** 2) / 102)
    assert found.value == pytest.approx(0.07)
    assert found.centre == pytest.approx(more - less)
    assert found.item_stderr == pytest.approx(half, rel=1e-2)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (more - less - 1.984 * half, more - less + 1.984 * half), abs=2e-3
    )
    assert found.test == "exact McNemar"
    assert found.p_value == pytest.approx(0.143463, abs=1e-6)
    assert (found.seed_noise, found.seed_stderr) == ("unknown", 0.0)


def test_answers_that_are_all_alike_leave_room_for_a_difference() -> None:
    found = difference(models(np.zeros(50)), models(np.zeros(50)), Design(), is_bounded=True)

    assert found.p_value == 1.0
    assert found.interval.high == pytest.approx(0.0547, abs=0.001)


def test_without_items_noise_it_is_welchs_test_on_the_seeds() -> None:
    rng = np.random.default_rng(1)
    first, second = (np.repeat(rng.standard_normal((3, 1)), 400, axis=1) for _ in range(2))

    found = difference(models(first), models(second), Design(), is_bounded=False)

    seeds = [rows.mean(axis=1) for rows in (first, second)]
    expected = math.sqrt(sum(means.var(ddof=1) / 3 for means in seeds))
    assert found.seed_stderr == pytest.approx(expected)
    assert found.item_stderr == pytest.approx(0, abs=1e-9)
    assert found.reference.seed_share == pytest.approx(1.0)
    spread = [means.var(ddof=1) / 3 for means in seeds]
    assert found.reference.seed_df == pytest.approx(sum(spread) ** 2 / sum(part**2 / 2 for part in spread))


def test_models_that_err_on_different_items_are_not_taken_for_seeds_that_differ() -> None:
    rng = np.random.default_rng(2)
    seed_parts = []
    for _ in range(300):
        difficulty = rng.standard_normal(200)
        sides = [models(side(rng, difficulty, 3, seed=0, own=1)) for _ in range(2)]
        found = difference(*sides, Design(), is_bounded=False)
        means = [one.values.mean(axis=1).var(ddof=1) / 3 for one in sides]
        seed_parts.append((found.seed_stderr**2, sum(means)))
    kept, plain = np.mean(seed_parts, axis=0)

    # Truncated at 0, so not 0 on average, but far from the variance between the seeds' means.
    assert kept < 0.45 * plain


def test_a_single_seed_is_taken_to_vary_like_the_other_sides() -> None:
    rng = np.random.default_rng(3)
    difficulty = rng.standard_normal(300)
    three, one = side(rng, difficulty, 3, seed=0.5, own=0.1), side(rng, difficulty, 1, seed=0.5, own=0.1)

    found = difference(models(three), models(one), Design(), is_bounded=False)

    assert found.seed_noise == "borrowed"
    assert found.seed_stderr == pytest.approx(math.sqrt(three.mean(axis=1).var(ddof=1) * (1 / 3 + 1)), rel=0.05)
    against_base = difference(models(three), models(one, is_trained=False), Design(), is_bounded=False)
    assert against_base.seed_noise == "measured"
    assert against_base.seed_stderr == pytest.approx(found.seed_stderr / 2, rel=1e-6)


def test_a_p_value_of_items_alone_would_be_wrong_where_seeds_differ() -> None:
    rng = np.random.default_rng(4)
    difficulty = rng.standard_normal(400)
    sides = [models(side(rng, difficulty, 3, seed=0.5, own=0.1)) for _ in range(2)]

    found = difference(*sides, Design(), is_bounded=False)

    assert found.test == "t over items and seeds"
    assert abs(found.value) > 10 * found.item_stderr
    assert found.p_value > 0.05


def test_interval_and_p_value_agree() -> None:
    rng = np.random.default_rng(5)
    outcomes = []
    for _ in range(200):
        difficulty = rng.standard_normal(60)
        sides = [models(side(rng, difficulty, 3, seed=0.1, own=0.5)) for _ in range(2)]
        found = difference(*sides, Design(), is_bounded=False)
        outcomes.append((found.p_value <= 0.05, not found.interval.low <= 0 <= found.interval.high))

    assert all(rejected == apart for rejected, apart in outcomes)


def test_the_bootstrap_is_a_second_way_to_both_errors() -> None:
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(60), 5)
    difficulty = rng.standard_normal(60)[clusters]
    persistent = 0.5 * rng.standard_normal(60)[clusters]
    sides = [models(side(rng, difficulty + offset, 5, seed=0.2, own=0.05)) for offset in (np.zeros(300), persistent)]

    found = difference(*sides, Design(clusters=clusters), is_bounded=False)
    resampled = hierarchical_bootstrap(*sides, Design(clusters=clusters), seed=0)

    assert resampled.item_stderr == pytest.approx(found.item_stderr, rel=0.06)
    assert resampled.seed_stderr == pytest.approx(found.seed_stderr, rel=0.06)
    assert resampled.stderr == pytest.approx(found.stderr, rel=0.06)
    unclustered = hierarchical_bootstrap(*sides, Design(), seed=0)
    assert unclustered.item_stderr < 0.6 * resampled.item_stderr
    assert hierarchical_bootstrap(*sides, Design(clusters=clusters), seed=0) == resampled


@pytest.mark.parametrize("kind", ["right or wrong", "in groups", "loss per token"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_a_known_difference(kind, seeds) -> None:
    rng = np.random.default_rng(7)
    effect, covered = 0.4, []
    for _ in range(1_000):
        count, clusters = int(rng.integers(100, 500)), None
        difficulty = rng.standard_normal(count)
        if kind == "in groups":
            clusters = np.unique(rng.integers(0, count // 8, count), return_inverse=True)[1]
            difficulty = np.sqrt(0.5) * (difficulty + rng.standard_normal(clusters.max() + 1)[clusters])
        sides = [
            side(rng, difficulty + offset + 0.3 * rng.standard_normal(count), seeds, seed=0.1, own=0.4)
            for offset in (effect, 0.0)
        ]
        if kind == "loss per token":
            tokens = rng.integers(5, 60, count).astype(float)
            made = [linearized(np.exp(0.3 * values), np.broadcast_to(tokens, values.shape)) for values in sides]
            # Log-normal values with one variance.
            level = math.exp(0.3**2 * (1 + 0.3**2 + 0.1**2 + 0.4**2) / 2)
            true = level * (math.exp(0.3 * effect) - 1)
        else:
            made = [(values > 0).astype(float) for values in sides]
            scale = math.sqrt(1 + 0.3**2 + 0.1**2 + 0.4**2)
            true = (1 + math.erf(effect / scale / math.sqrt(2))) / 2 - 0.5
        found = difference(*map(models, made), Design(clusters=clusters), is_bounded=kind != "loss per token")
        covered.append(found.interval.low <= true <= found.interval.high)

    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_reference_lies_between_the_two_t_distributions() -> None:
    both = Reference(item_df=100, seed_df=4, seed_share=0.5)

    assert Reference(100).quantile(0.025) < both.quantile(0.025) < Reference(4).quantile(0.025)
    assert Reference(100, 4, 1.0).quantile(0.025) == pytest.approx(Reference(4).quantile(0.025))
    for tail in (0.3, 0.025, 1e-6):
        assert both.tail(both.quantile(tail)) == pytest.approx(tail)
        assert both.tail(-both.quantile(tail)) == pytest.approx(1 - tail)
    assert both.two_sided(0.0) == pytest.approx(1.0)
