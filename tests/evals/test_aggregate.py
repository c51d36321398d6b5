"""From per-item values to one number with its error, against second implementations."""

import math
import random

import numpy as np
import pytest

from evals.tasks.aggregate import AGGREGATIONS, macro_f1, macro_f1_stderr, mean_stderr, ratio, ratio_stderr


def test_the_standard_error_of_a_mean_is_numpys() -> None:
    values = [0.0, 1.0, 1.0, 0.5]

    assert mean_stderr(values) == pytest.approx(np.std(values, ddof=1) / math.sqrt(4))


def test_a_long_item_weighs_more_in_a_ratio() -> None:
    assert ratio([(10.0, 10), (0.0, 90)]) == pytest.approx(0.1)


def test_a_ratio_over_equal_lengths_has_the_error_of_a_mean() -> None:
    values = [1.0, 2.0, 4.0, 4.5]

    assert ratio_stderr([(5 * value, 5) for value in values]) == pytest.approx(mean_stderr(values))


def test_the_delta_method_agrees_with_resampling() -> None:
    draw = random.Random(3)  # noqa: S311
    lengths = [draw.randint(5, 60) for _ in range(400)]
    items = [(length * draw.gauss(1.5, 0.4), float(length)) for length in lengths]
    resampled = [ratio(draw.choices(items, k=len(items))) for _ in range(1000)]

    assert ratio_stderr(items) == pytest.approx(float(np.std(resampled, ddof=1)), rel=0.15)


def test_macro_f1_is_the_mean_over_labels_expected_or_given() -> None:
    # a: precision 1/2, recall 1; b: never found; c: never expected.
    values = [("a", "a"), ("b", "a"), ("b", "c")]

    assert macro_f1(values) == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_no_label_at_all_is_no_label_of_its_own() -> None:
    assert macro_f1([("a", "a"), ("b", "")]) == pytest.approx((1 + 0) / 2)


def test_the_error_of_macro_f1_shrinks_with_items_and_repeats() -> None:
    draw = random.Random(1)  # noqa: S311
    items = [("a", draw.choice("ab")) if draw.random() < 0.5 else ("b", draw.choice("ab")) for _ in range(400)]

    assert macro_f1_stderr(items) == macro_f1_stderr(items)
    assert macro_f1_stderr(items) == pytest.approx(0.5 / math.sqrt(400), rel=0.3)
    assert macro_f1_stderr(items[:50]) > macro_f1_stderr(items)


def test_one_item_has_no_error() -> None:
    assert AGGREGATIONS["loss"].metric([(2.0, 4)]).stderr is None


def test_loss_is_better_when_lower() -> None:
    assert not AGGREGATIONS["loss"].metric([(2.0, 4), (1.0, 2)]).higher_is_better
    assert AGGREGATIONS["exact_match"].metric([1.0, 0.0]).higher_is_better
