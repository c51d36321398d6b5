"""Scores in the tables whose items share groups: the errors that the verdicts have, and the note that says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evals.result import Metric
from reports.document import text_of
from reports.gather import gather
from reports.grouped import constant_errors, grouped_errors
from reports.pairing import pair
from reports.run_contrasts import read_sides
from reports.sections import methods_table
from reports.sides import MetricName, Side, TaskItems
from reports.statistics.clusters import Floats, clustered_error
from reports.summary import summarize
from reports.verdict import judge_run
from sweep.spec import StudySpec
from sweep.store import RunDirectory

Builder = Callable[..., RunDirectory]
NAME = MetricName("own", "exact_match")


def test_errors_are_those_of_the_items_in_their_groups(finished_run: RunDirectory) -> None:
    gathered = gather(finished_run)
    [lora, *_] = read_sides(gathered).methods
    found = summarize(gathered).methods[0].scores[str(NAME)]

    made = pair(lora, lora, NAME)
    assert made is not None
    assert made.design.clusters is not None
    variances = [clustered_error(values, made.design.clusters).variance for values in made.one.values]
    assert found.item_stderr == pytest.approx((sum(variances) / 3) ** 0.5)
    assert (found.groups, found.kind) == (7, "Wilson, clustered")


def test_the_table_says_which_interval_it_is(finished_run: RunDirectory) -> None:
    gathered = gather(finished_run)
    summary = summarize(gathered)

    table = methods_table(gathered, summary, judge_run(gathered, summary.metric))

    assert "Interval, 95 %: Wilson's, for as many independent items as would have this error" in table.caption
    assert "Items share groups (7): standard errors are clustered by them (CR2)" in table.caption
    # No single answer is right as often as the toy's constant answer is said to be.
    assert [text_of(row[2]) == "\u2013" for row in table.rows] == [False, False, False, False, True]
    assert "Where it is not known which items are right, there is no error." in table.caption


def test_without_groups_they_stay_those_of_the_records(
    tmp_path: Path, build: Builder, study: Callable[..., StudySpec]
) -> None:
    spec = study()
    run = build(tmp_path, spec.model_copy(update={"data": spec.data.model_copy(update={"group": None})}))
    gathered = gather(run)
    summary = summarize(gathered)

    found = summary.methods[0].scores[str(NAME)]
    assert (found.groups, found.kind) == (None, "Wilson")
    table = methods_table(gathered, summary, judge_run(gathered, summary.metric))
    assert "clustered" not in table.caption


def side(groups: tuple[str | None, ...], values: Floats) -> Side:
    keys = tuple((str(place), 0) for place in range(len(groups)))
    targets = tuple("yes" if place % 3 else "no" for place in range(len(groups)))
    items = TaskItems(keys, groups, targets, ("",) * len(groups), {"exact_match": values}, {})
    return Side("lora", is_trained=True, models=({("own", "none"): items},))


def share(value: float, n: int) -> Metric:
    return Metric(value=value, stderr=0.1, n=n, higher_is_better=True)


def test_groups_of_one_item_each_change_nothing() -> None:
    values = np.array([1, 0, 1, 1, 0, 1], dtype=float)
    alone = side(tuple("abcdef"), values)

    assert grouped_errors(alone, [{str(NAME): share(4 / 6, 6)}]) == {}


def test_one_group_alone_tells_no_error() -> None:
    together = side(("a",) * 6, np.array([1, 0, 1, 1, 0, 1], dtype=float))

    found = grouped_errors(together, [{str(NAME): share(4 / 6, 6)}])[str(NAME)]

    assert (found.stderr, found.groups) == (None, 1)


def test_a_score_that_its_items_do_not_give_keeps_its_own_error() -> None:
    grouped = side(("a", "a", "b", "b", "c", "c"), np.array([1, 0, 1, 1, 0, 1], dtype=float))

    assert grouped_errors(grouped, [{str(NAME): share(0.1, 6)}]) == {}


def test_the_constant_answer_has_the_error_of_the_items_that_it_has_right() -> None:
    groups = ("a", "a", "a", "b", "b", "b", "c", "c", "c")
    grouped = side(groups, np.array([1, 0, 1, 1, 0, 1, 1, 1, 0], dtype=float))

    known = constant_errors(grouped, {str(NAME): share(6 / 9, 9)})[str(NAME)]
    unknown = constant_errors(grouped, {str(NAME): share(0.5, 9)})[str(NAME)]

    # "yes" is right for two of three in each group: no group has more than another.
    assert (known.stderr, known.groups) == (pytest.approx(0.0), 3)
    assert (unknown.stderr, unknown.groups) == (None, 3)
