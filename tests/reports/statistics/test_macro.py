"""Macro F1 by resampling: against other implementations, and its verdicts under the null and under a known effect."""

import math

import numpy as np
import pytest

from evals.tasks.aggregate import macro_f1
from reports.statistics import Design, Models, difference
from reports.statistics.clusters import Codes, Floats, Replicated
from reports.statistics.difference import Difference
from reports.statistics.macro import NO_LABEL, Labelled, macro_f1s, replicated, replicates

LABELS = 4
SHARES = np.array([0.5, 0.3, 0.15, 0.05])
"""Labels as unevenly frequent as tickets are."""


def pairs(labelled: Labelled, model: int, counts: Floats | None = None) -> list[tuple[str, str]]:
    """The same as texts, each item as often as it counts."""
    times = np.ones(len(labelled.expected)) if counts is None else counts
    named = [*(str(label) for label in range(LABELS)), ""]
    found = zip(labelled.expected, labelled.given[model], times, strict=True)
    return [(named[one], named[other]) for one, other, count in found for _ in range(int(count))]


def answers(rng: np.random.Generator, expected: Codes, difficulty: Floats, skill: Floats, own: float) -> Codes:
    """What models of this skill answer: the right label, or the next one, or now and then none."""
    latent = skill[:, None] - difficulty + own * rng.standard_normal((len(skill), len(expected)))
    wrong = (expected + rng.integers(1, LABELS, size=latent.shape)) % LABELS
    given = np.where(latent > 0, expected, wrong)
    return np.where(rng.random(latent.shape) < 0.02, NO_LABEL, given)


def studied(
    rng: np.random.Generator, count: int, models: tuple[int, int], *, effect: float = 0.0, groups: int | None = None
) -> tuple[Labelled, Design]:
    """Two sides on the same items, with seed noise where a side has several models."""
    clusters = None if groups is None else np.unique(rng.integers(0, groups, count), return_inverse=True)[1]
    expected = rng.choice(LABELS, size=count, p=SHARES)
    difficulty = rng.standard_normal(count)
    if clusters is not None:
        difficulty = math.sqrt(0.5) * (difficulty + rng.standard_normal(groups)[clusters])
    sides = []
    for side, number in enumerate(models):
        persistent = 0.3 * rng.standard_normal(count)
        # Seeds vary a side's skill; a single model is drawn like any other.
        skill = 0.5 + effect * (side == 0) + (0.1 * rng.standard_normal(number) if number > 1 else np.zeros(number))
        sides.append(answers(rng, expected, difficulty + persistent, skill, 0.4))
    return Labelled(expected, np.concatenate(sides)), Design(clusters=clusters)


def compared(labelled: Labelled, design: Design, first: int, resamples: int = 2_000) -> Difference:
    values = replicates(labelled, design, resamples=resamples)
    one, other = Models(values[:first], is_trained=True), Models(values[first:], is_trained=True)
    return difference(one, other, replicated(labelled, design), is_bounded=True)


def test_each_resample_is_scored_as_the_plain_implementation_scores_it() -> None:
    rng = np.random.default_rng(1)
    labelled, _ = studied(rng, 60, (2, 1))
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=20).astype(float)

    found = macro_f1s(labelled, counts)

    assert found.shape == (3, 20)
    for model in range(3):
        for place in range(20):
            expected = macro_f1(pairs(labelled, model, counts[place]))
            assert found[model, place] == pytest.approx(expected, abs=1e-12)


def influence(labelled: Labelled, model: int) -> Floats:
    """How much each item moves macro F1, by its derivative in the item's weight (the delta method)."""
    expected, given = labelled.expected, labelled.given[model]
    total = np.zeros(len(expected))
    for label in range(LABELS):
        is_right, both = (expected == label) & (given == label), (expected == label).astype(float) + (given == label)
        total += 2 * (is_right - is_right.sum() * both / both.sum()) / both.sum()
    return total / LABELS


@pytest.mark.parametrize("groups", [None, 60])
def test_the_error_of_a_difference_agrees_with_the_delta_method(groups: int | None) -> None:
    labelled, design = studied(np.random.default_rng(2), 600, (1, 1), effect=0.2, groups=groups)

    values = replicates(labelled, design, resamples=6_000)
    moved = influence(labelled, 0) - influence(labelled, 1)
    sums = moved if design.clusters is None else np.bincount(design.clusters, moved)

    assert (values[0] - values[1]).std(ddof=1) == pytest.approx(math.sqrt(float((sums**2).sum())), rel=0.06)


def test_the_mean_of_the_resamples_is_the_score_and_the_same_seed_gives_the_same() -> None:
    labelled, design = studied(np.random.default_rng(3), 80, (1, 1), effect=0.5)

    values = replicates(labelled, design)

    assert values.mean(axis=1) == pytest.approx([macro_f1(pairs(labelled, model)) for model in (0, 1)], abs=1e-12)
    assert (values == replicates(labelled, design)).all()


def test_two_that_answer_alike_do_not_differ_and_leave_room_for_a_difference() -> None:
    labelled, design = studied(np.random.default_rng(4), 50, (1, 1))
    same = Labelled(labelled.expected, np.repeat(labelled.given[:1], 2, axis=0))

    found = compared(same, design, 1)

    assert (found.value, found.p_value, found.test) == (0.0, 1.0, "paired bootstrap over items")
    assert found.interval.high == pytest.approx(0.0547, abs=0.001)


def test_groups_widen_the_error() -> None:
    rng = np.random.default_rng(5)
    labelled, design = studied(rng, 400, (1, 1), groups=40)

    whole = replicated(labelled, design)

    assert isinstance(whole, Replicated)
    assert whole.error_of_mean(np.array([1.0, 2.0])).df < 40
    persistent = np.repeat(labelled.given, 2, axis=1)
    twice = Labelled(np.repeat(labelled.expected, 2), persistent)
    in_pairs = Design(clusters=np.repeat(np.arange(400), 2))
    assert compared(twice, in_pairs, 1).item_stderr > 1.3 * compared(twice, Design(), 1).item_stderr


@pytest.mark.parametrize(
    ("models", "groups", "count"), [((1, 1), None, 60), ((1, 1), None, 300), ((3, 3), None, 200), ((3, 3), 40, 300)]
)
def test_of_two_that_are_equal_at_most_one_in_twenty_is_called_better(
    models: tuple[int, int], groups: int | None, count: int
) -> None:
    rng = np.random.default_rng(6)
    false = [
        compared(*studied(rng, count, models, groups=groups), models[0], resamples=400).p_value <= 0.05
        for _ in range(500)
    ]

    # Five hundred studies: 5 % has a standard error of 1 %.
    assert 0.01 <= np.mean(false) <= 0.07


def test_intervals_cover_a_known_difference() -> None:
    rng = np.random.default_rng(7)
    effect = 0.4
    # What the two score on so many items that chance is gone, averaged over seeds.
    true = np.mean(
        [
            np.subtract(*macro_f1s(studied(rng, 20_000, (1, 1), effect=effect)[0], np.ones((1, 20_000)))[:, 0])
            for _ in range(10)
        ]
    )
    covered = []
    for _ in range(400):
        found = compared(*studied(rng, 300, (1, 1), effect=effect), 1, resamples=400).interval
        covered.append(found.low <= true <= found.high)

    assert 0.93 <= np.mean(covered) <= 0.975
