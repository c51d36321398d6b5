"""What a plan says can be told apart: from the base model's answers and the finalists' seeds, or for the worst case."""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from reported_run import base_record, build_run, toy_study
from scipy.optimize import brentq
from scipy.stats import norm

from evals.items import read_items
from evals.result import Metric
from reports.gather import gather
from reports.plan import NO_SEEDS, WORST, detectable_differences, unknown_differences
from sweep.plan.ranges import Range
from sweep.plan.result import Detectable, PhaseWork, ScoringWork, StudyPlan
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_record

NONE = Range.exactly(0)
SPEC = toy_study()


def plan_of(
    items: Mapping[str, int | None], *, phase: str = "confirm", loss_only: tuple[str, ...] = ("general_text",)
) -> StudyPlan:
    scoring = ScoringWork(items, loss_only=tuple(task for task in loss_only if task in items))
    work = PhaseWork(phase, None, Range.exactly(1), NONE, NONE, NONE, NONE, Range.exactly(1), scoring)
    return StudyPlan("tickets", "toy", 1, (), {}, (work,), (), ())


def differences(run: Path, items: Mapping[str, int | None], spec: StudySpec = SPEC) -> dict[str, Detectable]:
    return {row.metric: row for row in detectable_differences(spec, plan_of(items), run)}


def found_in_four_of_five(variance: float, items: int, seeds: int, seed_sd: float) -> float:
    """The difference whose two-sided test has 80 % power, found by looking for it."""
    return found_apart(2 * variance * (1 - 0.7), items, seeds, seed_sd)


def found_apart(paired_variance: float, items: int, seeds: int, seed_sd: float) -> float:
    error = math.sqrt(paired_variance / items + 2 * seed_sd**2 / seeds)
    critical = norm.isf(0.025)

    def power(difference: float) -> float:
        return norm.sf(critical - difference / error) + norm.cdf(-critical - difference / error)

    return brentq(lambda difference: power(difference) - 0.8, 0.0, 10 * error)


def paired_variance(run: RunDirectory, spec: StudySpec, *, phase: str = "confirm") -> float:
    """Of the difference of one item's loss, the mean over pairs of methods; items of a group count as one."""
    losses = []
    for method in spec.methods:
        trial = run.confirm_trial(method, 1) if phase == "confirm" else run.search_trial(method, 3)
        own = [item for item in read_items(trial.eval) if item.task == "own"]
        losses.append({item.doc_hash: (item.scores["loss"], item.group) for item in own})
    variances = []
    for one, other in combinations(losses, 2):
        differences = [one[key][0] - other[key][0] for key in one]
        mean, count = sum(differences) / len(differences), len(differences)
        groups: dict[str | None, list[float]] = defaultdict(list)
        for key, value in zip(one, differences, strict=True):
            groups[one[key][1]].append(value - mean)
        # CR2: a group's sum is short of what its share of all items is.
        variances.append(sum(sum(group) ** 2 / (1 - len(group) / count) for group in groups.values()) / count)
    return sum(variances) / len(variances)


def test_without_an_earlier_run_half_of_all_answers_are_taken_for_right(tmp_path: Path) -> None:
    (row,) = differences(tmp_path / "nothing", {"gsm8k": 1319}).values()

    assert row.difference == pytest.approx(found_in_four_of_five(0.25, 1319, 3, 0.0), rel=1e-4)
    assert (row.task, row.metric, row.items, row.seeds) == ("gsm8k", "gsm8k, right or wrong", 1319, 3)
    assert WORST in row.assumptions
    assert NO_SEEDS in row.assumptions
    assert "5,276" in row.halved_by


def test_an_earlier_run_tells_how_answers_and_seeds_scatter(tmp_path: Path) -> None:
    run = build_run(tmp_path).path
    rows = differences(run, {"own": 60})

    # The base model has 2 of 60 right; three seeds of each method are 0.015 apart, rounded to whole items.
    right = 2 / 60
    seeds = [[round((0.62 - 0.02 * place + 0.015 * (n - 2)) * 60) / 60 for n in (1, 2, 3)] for place in range(3)]
    seed_sd = math.sqrt(sum(_squares(scores) for scores in seeds) / 6)
    expected = found_in_four_of_five(right * (1 - right) * 60 / 59, 60, 3, seed_sd)
    assert rows["own/exact_match"].difference == pytest.approx(expected, rel=1e-4)
    assert "scores 0.0333" in rows["own/exact_match"].assumptions
    assert f"scatter by {seed_sd:.3g}" in rows["own/exact_match"].assumptions
    # The objective is shown beside it, in its own unit: losses of 0.41, 0.42 and 0.43, and as items differ.
    paired = paired_variance(RunDirectory(run), SPEC)
    assert rows["own/loss"].difference == pytest.approx(found_apart(paired, 60, 3, 0.01), rel=1e-4)
    assert "as two methods' finalists did; seeds scatter by 0.01" in rows["own/loss"].assumptions
    assert (rows["own/loss"].is_share, rows["own/exact_match"].is_share) == (False, True)
    assert list(rows) == ["own/loss", "own/exact_match"]


def test_a_base_model_that_gets_nothing_right_says_nothing_of_how_answers_scatter(tmp_path: Path) -> None:
    (row,) = differences(build_run(tmp_path).path, {"gsm8k": 50}).values()

    assert WORST in row.assumptions
    assert row.difference == pytest.approx(found_in_four_of_five(0.25, 50, 3, 0.0), rel=1e-4)


def test_a_loss_is_never_taken_for_right_and_wrong_answers(tmp_path: Path) -> None:
    assert differences(tmp_path / "nothing", {"general_text": 36}) == {}

    run = build_run(tmp_path, search=False, confirm=False)
    base = base_record(SPEC, "confirm", loss=1.8, exact=0.0)
    assert base.evaluation is not None
    metrics = {
        "general_text/loss": Metric(value=0.9, stderr=0.1, n=36, higher_is_better=False),
        "own/loss": Metric(value=0.9, stderr=None, n=60, higher_is_better=False),
    }
    scored = base.evaluation.model_copy(update={"metrics": metrics})
    write_record(run.confirm_baseline, base.model_copy(update={"evaluation": scored}))
    rows = differences(run.path, {"general_text": 36, "own": 60})

    assert list(rows) == ["general_text/loss"]
    row = rows["general_text/loss"]
    assert row.difference == pytest.approx(found_in_four_of_five(0.1**2 * 36, 36, 3, 0.0), rel=1e-4)
    assert not row.is_share


def test_rows_without_answers_are_never_taken_for_right_or_wrong(tmp_path: Path) -> None:
    plan = plan_of({"own": 60, "gsm8k": 50}, loss_only=("own",))
    found = detectable_differences(SPEC, plan, tmp_path / "nothing")

    assert [row.metric for row in found] == ["gsm8k, right or wrong"]
    (note,) = unknown_differences(plan, found)
    assert "loss per token on own is not known" in note
    assert "`sweep run` scores the base model" in note


def test_a_run_that_only_searched_tells_how_far_losses_lie_apart(tmp_path: Path) -> None:
    run = build_run(tmp_path, confirm=False)
    plan = plan_of({"own": 60}, loss_only=("own",))

    found = detectable_differences(SPEC, plan, run.path)
    (row,) = (row for row in found if row.metric == "own/loss")
    assert "as the best trials of two methods did" in row.assumptions
    assert NO_SEEDS in row.assumptions
    assert not row.is_share
    best = {method.name: method.best.config.number for method in gather(run).methods if method.best}
    assert set(best.values()) == {3}
    expected = paired_variance(run, SPEC, phase="search")
    assert row.difference == pytest.approx(found_apart(expected, 60, 3, 0.0), rel=1e-4)
    assert unknown_differences(plan, found) == []


def test_of_one_method_the_base_model_stands_in_for_the_other(tmp_path: Path) -> None:
    spec = toy_study(("lora",))
    (row,) = (
        row
        for row in detectable_differences(spec, plan_of({"own": 60}), build_run(tmp_path, spec).path)
        if row.metric == "own/loss"
    )

    assert "the base model's and a trained model's did" in row.assumptions
    assert row.difference > 0


def test_where_only_the_base_model_was_scored_its_own_scatter_is_taken(tmp_path: Path) -> None:
    run = build_run(tmp_path, search=False, confirm=False)
    (row,) = (row for row in detectable_differences(SPEC, plan_of({"own": 60}), run.path) if row.metric == "own/loss")

    # 40 rows of the validation split, and an error of 0.02.
    assert row.difference == pytest.approx(found_in_four_of_five(0.02**2 * 40, 60, 3, 0.0), rel=1e-4)
    assert "correlate at 0.7" in row.assumptions


def test_more_seeds_find_less_where_seeds_scatter(tmp_path: Path) -> None:
    run = build_run(tmp_path).path
    few, many = (
        differences(run, {"own": 60}, toy_study(seeds=seeds))["own/exact_match"].difference for seeds in (1, 9)
    )

    assert many < few


def test_what_is_not_confirmed_or_not_counted_has_no_row(tmp_path: Path) -> None:
    assert differences(tmp_path, {"gsm8k": None, "mmlu": 0}) == {}
    assert detectable_differences(SPEC, plan_of({"own": 60}, phase="search"), tmp_path) == []


def _squares(scores: list[float]) -> float:
    mean = sum(scores) / len(scores)
    return sum((score - mean) ** 2 for score in scores)
