"""Scores that were taken again, against the noise that is known."""

import math

import numpy as np
import pytest

from evals.items import Item
from evals.result import EvalResult, Metric, Noise
from sweep.rerun.comparison import Comparison, Row
from sweep.rerun.scores import NORMAL_95, KnownNoise, Scored, compare_scores, rounding_noise

QUIET = KnownNoise({}, {})


def scored(values: list[float], *, name: str = "own/acc", weights: list[float] | None = None, **more: float) -> Scored:
    """A result whose metric is the weighted mean of its items."""
    weights = weights or [1.0] * len(values)
    task, metric = name.split("/")
    items = [
        Item(
            task=task, doc_id=place, doc_hash=f"hash {place}", filter="none", scores={metric: value},
            weights={metric: weight}, target="", answer="", row=None, group=None,
        )
        for place, (value, weight) in enumerate(zip(values, weights, strict=True))
    ]  # fmt: skip
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    found = {name: mean, **more}
    metrics = {
        key: Metric(value=value, stderr=None, n=len(values), higher_is_better=True) for key, value in found.items()
    }
    return Scored(EvalResult(metrics=metrics, task_versions={}, samples={}, seconds={}), items)


def only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


def flipped(values: list[float], places: range) -> list[float]:
    return [1 - value if place in places else value for place, value in enumerate(values)]


HALF_RIGHT = [0.0, 1.0] * 100


def test_equal_scores_are_the_same_whatever_is_known_of_noise() -> None:
    row = only(compare_scores(scored(HALF_RIGHT), scored(HALF_RIGHT), QUIET))

    assert (row.agreement, row.why, row.decides) == ("same", "", True)
    nothing = scored([math.nan, math.nan])
    assert only(compare_scores(nothing, nothing, QUIET)).agreement == "same"


def test_items_that_flip_both_ways_are_within_their_noise_and_a_one_sided_change_is_not() -> None:
    both_ways = flipped(HALF_RIGHT, range(21))
    one_way = [1.0] * 20 + HALF_RIGHT[20:]

    within = only(compare_scores(scored(HALF_RIGHT), scored(both_ways), QUIET))
    beyond = only(compare_scores(scored(HALF_RIGHT), scored(one_way), QUIET))

    assert within.agreement == "within noise"
    assert "noise of 200 paired items" in within.why
    assert beyond.agreement == "differs"
    assert beyond.why.startswith("+0.05, paired items allow ±0.03")


def test_a_change_of_every_item_by_the_same_amount_is_no_noise() -> None:
    now = [value + 0.001 for value in HALF_RIGHT]

    assert only(compare_scores(scored(HALF_RIGHT), scored(now), QUIET)).agreement == "differs"


def test_a_recorded_number_that_its_own_items_do_not_give_is_named_as_such() -> None:
    record = scored(HALF_RIGHT)
    better = record.result.metrics["own/acc"].model_copy(update={"value": 0.55})
    forged = Scored(record.result.model_copy(update={"metrics": {"own/acc": better}}), record.items)
    loud = KnownNoise({"own/acc": Noise(flipped=0.5, largest=1.0, n=200)}, {"own/acc": 0.9})

    row = only(compare_scores(forged, scored(HALF_RIGHT), loud))

    assert row.agreement == "differs"
    assert row.why == "the recorded items give 0.5, not what the record says"


def test_what_the_base_model_does_when_it_is_scored_twice_excuses_as_much_and_no_more() -> None:
    floor = KnownNoise({"own/acc": Noise(flipped=0.1, largest=1.0, n=200)}, {})

    few = only(compare_scores(scored(HALF_RIGHT), scored([1.0] * 20 + HALF_RIGHT[20:]), floor))
    many = only(compare_scores(scored(HALF_RIGHT), scored([1.0] * 60 + HALF_RIGHT[60:]), floor))
    zero = KnownNoise({"own/acc": Noise(flipped=0.0, largest=0.0, n=200)}, {})

    assert few.agreement == "within noise"
    assert "5.0% of the items flip, 10.0% there" in few.why
    assert many.agreement == "differs"
    assert only(compare_scores(scored(HALF_RIGHT), scored([1.0] * 20 + HALF_RIGHT[20:]), zero)).agreement == "differs"


def test_the_spread_over_seeds_excuses_a_difference_that_is_smaller() -> None:
    now = scored([1.0] * 20 + HALF_RIGHT[20:])

    assert only(compare_scores(scored(HALF_RIGHT), now, KnownNoise({}, {"own/acc": 0.06}))).agreement == "within noise"
    assert only(compare_scores(scored(HALF_RIGHT), now, KnownNoise({}, {"own/acc": 0.04}))).agreement == "differs"


def test_a_score_that_one_side_lacks_differs() -> None:
    record, now = scored(HALF_RIGHT, other=1.0), scored(HALF_RIGHT)

    assert [row.agreement for row in compare_scores(record, now, QUIET)] == ["same", "differs"]
    assert compare_scores(now, record, QUIET)[1].why == "the record has no such score"


def test_a_groups_score_follows_from_its_tasks_or_differs_with_them() -> None:
    name = "arc_easy/acc"
    record = scored(HALF_RIGHT, name=name, **{"arc/acc": 0.5})
    slightly = scored(flipped(HALF_RIGHT, range(21)), name=name, **{"arc/acc": 0.505})
    largely = scored(flipped(HALF_RIGHT, range(21)), name=name, **{"arc/acc": 0.6})

    assert [row.agreement for row in compare_scores(record, slightly, QUIET)] == ["within noise"] * 2
    assert [row.agreement for row in compare_scores(record, largely, QUIET)] == ["within noise", "differs"]


def test_a_loss_is_weighed_by_its_tokens() -> None:
    weights = [float(1 + place % 7) for place in range(50)]
    draw = np.random.default_rng(1)
    then = list(draw.normal(2.0, 0.5, 50))
    now = [value + change for value, change in zip(then, draw.normal(0.0, 0.01, 50), strict=True)]

    row = only(compare_scores(scored(then, weights=weights), scored(now, weights=weights), QUIET))

    # A second way to the same error: each item left out in turn (jackknife).
    d, w = np.array(now) - np.array(then), np.array(weights)
    left_out = np.array([np.average(np.delete(d, i), weights=np.delete(w, i)) for i in range(50)])
    stderr = math.sqrt(49 / 50 * np.sum((left_out - left_out.mean()) ** 2))
    assert row.agreement == "within noise"
    assert float(row.why.partition("±")[2].partition(",")[0]) == pytest.approx(NORMAL_95 * stderr, rel=0.1)


def test_noise_without_a_cause_is_rarely_taken_for_a_difference_and_a_cause_is_mostly_seen() -> None:
    draw = np.random.default_rng(0)

    def differs(shift: float) -> bool:
        then = (draw.random(300) < 0.5).astype(float)
        # One item in seven is answered anew, a share of them rightly.
        redrawn = np.where(draw.random(300) < 1 / 7, (draw.random(300) < 0.5 + shift).astype(float), then)
        return only(compare_scores(scored(list(then)), scored(list(redrawn)), QUIET)).agreement == "differs"

    assert sum(differs(0.0) for _ in range(400)) / 400 < 0.08
    assert sum(differs(0.5) for _ in range(100)) / 100 > 0.9


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (["same", "same"], "same"),
        (["same", "within noise"], "within noise"),
        (["within noise", "differs"], "differs"),
        ([], "not compared"),
    ],
)
def test_the_verdict_is_that_of_the_worst_row_that_decides(found: list, verdict: str) -> None:
    explains = Row("versions", "torch", "1", "2", "differs")
    rows = [explains, *(Row("scores", "x", "", "", agreement, decides=True) for agreement in found)]

    comparison = Comparison("search/lora/0001", rows)

    assert comparison.agreement == verdict
    assert comparison.sentence.startswith("search/lora/0001 ")
    assert comparison.plain()["agreement"] == verdict


def test_rounding_in_training_covers_a_shift_of_all_items_as_wide_as_it_makes_itself() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=300)
    now = scored(list(base), name="own/loss")
    packed_otherwise = scored(list(base + 0.01 + random.normal(0, 0.01, 300)), name="own/loss")
    noise = KnownNoise({}, {}, rounding_noise(now, packed_otherwise))

    assert noise.rounding["own/loss"] == pytest.approx(NORMAL_95 * math.hypot(0.01, 0.01), rel=0.1)
    small, large = (scored(list(base + shift), name="own/loss") for shift in (0.02, 0.04))
    assert only(compare_scores(small, now, noise)).agreement == "within noise"
    beyond = only(compare_scores(large, now, noise))
    assert beyond.agreement == "differs"
    assert beyond.why.endswith("; rounding in training makes ±0.027")


def test_the_noise_of_rounding_covers_what_it_is_for() -> None:
    """Trainings that rounding alone tells apart agree in at least 95 of 100 cases, however their items correlate."""
    random = np.random.default_rng(1)
    for shared, own in ((1.0, 0.0), (1.0, 1.0), (0.3, 1.0), (0.0, 1.0)):
        directions = random.normal(size=(8, 100))
        first, second, third = (
            shared * random.normal(size=(500, 8)) @ directions + own * random.normal(size=(500, 100)) for _ in range(3)
        )
        allowed = NORMAL_95 * np.sqrt(np.mean((second - third) ** 2, axis=1))
        assert np.mean(np.abs(np.mean(first - second, axis=1)) <= allowed) >= 0.95
