"""What a plan says can be told apart: from the base model's answers and the finalists' seeds, or for the worst case."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from evals.result import Metric
from reports.plan import NO_SEEDS, WORST, detectable_differences
from sweep.plan.ranges import Range
from sweep.plan.result import Detectable, PhaseWork, ScoringWork, StudyPlan
from sweep.spec import StudySpec
from sweep.store import write_record
from tests.reports.conftest import base_record, build_run, toy_study

NONE = Range.exactly(0)
SPEC = toy_study()


def plan_of(items: Mapping[str, int | None], *, phase: str = "confirm") -> StudyPlan:
    work = PhaseWork(phase, None, Range.exactly(1), NONE, NONE, NONE, NONE, Range.exactly(1), ScoringWork(items))
    return StudyPlan("tickets", "toy", 1, (), {}, (work,), (), ())


def differences(run: Path, items: Mapping[str, int | None], spec: StudySpec = SPEC) -> dict[str, Detectable]:
    return {row.metric: row for row in detectable_differences(spec, plan_of(items), run)}


def found_in_four_of_five(variance: float, items: int, seeds: int, seed_sd: float) -> float:
    """The difference whose two-sided test has 80 % power, found by looking for it."""
    error = math.sqrt(2 * variance * (1 - 0.7) / items + 2 * seed_sd**2 / seeds)
    critical = norm.isf(0.025)

    def power(difference: float) -> float:
        return norm.sf(critical - difference / error) + norm.cdf(-critical - difference / error)

    return brentq(lambda difference: power(difference) - 0.8, 0.0, 10 * error)


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
    # The objective is shown beside it, in its own unit: losses of 0.41, 0.42 and 0.43, and an error of 0.02.
    assert rows["own/loss"].difference == pytest.approx(found_in_four_of_five(0.02**2 * 60, 60, 3, 0.01), rel=1e-4)
    assert (rows["own/loss"].is_share, rows["own/exact_match"].is_share) == (False, True)
    assert list(rows) == ["own/loss", "own/exact_match"]


def test_a_base_model_that_gets_nothing_right_says_nothing_of_how_answers_scatter(tmp_path: Path) -> None:
    (row,) = differences(build_run(tmp_path).path, {"gsm8k": 50}).values()

    assert WORST in row.assumptions
    assert row.difference == pytest.approx(found_in_four_of_five(0.25, 50, 3, 0.0), rel=1e-4)


def test_a_loss_is_never_taken_for_right_and_wrong_answers(tmp_path: Path) -> None:
    assert differences(tmp_path / "nothing", {"general_text": 36}) == {}

    run = build_run(tmp_path)
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
