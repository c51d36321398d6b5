"""Scores of groups against a second computation, and against lm-evaluation-harness's own."""

import math
import random

import numpy as np
import pytest
from lm_eval.api.metrics import pooled_sample_stderr

from evals.tasks.aggregate import mean_stderr
from evals.tasks.groups import stratified_mean


def strata(*sizes_and_shares: tuple[int, float]) -> list[list[float]]:
    draw = random.Random(7)  # noqa: S311
    return [[float(draw.random() < share) for _ in range(size)] for size, share in sizes_and_shares]


def test_the_error_is_that_of_resampling_each_task_by_itself() -> None:
    drawn = strata((40, 0.9), (200, 0.5), (15, 0.3))
    random_state = np.random.default_rng(0)
    resampled = [
        sum(random_state.choice(values, len(values)).sum() for values in drawn) / sum(map(len, drawn))
        for _ in range(20_000)
    ]

    value, stderr = stratified_mean(drawn, by_size=True)

    assert value == pytest.approx(sum(map(sum, drawn)) / 255)
    # The bootstrap divides by n where the sample variance divides by n - 1.
    assert stderr == pytest.approx(np.std(resampled), rel=0.02)


def test_tasks_that_count_equally_do_so_in_value_and_error() -> None:
    drawn = strata((40, 0.9), (200, 0.5))

    value, stderr = stratified_mean(drawn, by_size=False)

    assert value == pytest.approx((np.mean(drawn[0]) + np.mean(drawn[1])) / 2)
    assert stderr == pytest.approx(math.hypot(*(mean_stderr(values) for values in drawn)) / 2)


def test_the_stock_tools_pooled_error_agrees_where_tasks_are_of_one_size_and_only_there() -> None:
    def both(drawn: list[list[float]]) -> tuple[float, float]:
        stock = pooled_sample_stderr([mean_stderr(values) for values in drawn], [len(values) for values in drawn])
        stderr = stratified_mean(drawn, by_size=True)[1]
        assert stderr is not None
        return float(stock), stderr

    stock, ours = both(strata((30, 0.9), (30, 0.5), (30, 0.2)))
    assert stock == pytest.approx(ours)
    stock, ours = both(strata((10, 0.5), (300, 0.05)))
    assert abs(stock / ours - 1) > 0.001


def test_differences_between_tasks_are_not_chance() -> None:
    drawn = strata((100, 0.95), (100, 0.05))

    stderr = stratified_mean(drawn, by_size=True)[1]

    assert stderr is not None
    assert stderr < 0.6 * mean_stderr([value for values in drawn for value in values])


def test_a_task_of_one_item_leaves_the_group_without_an_error() -> None:
    assert stratified_mean([[1.0, 0.0], [1.0]], by_size=True) == (pytest.approx(2 / 3), None)
