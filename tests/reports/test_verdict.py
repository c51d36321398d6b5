"""Verdicts: outcomes, corrections, margins, sentences, and what is missing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from reported_run import lose

from reports.contrast import Contrast
from reports.gather import gather
from reports.statistics import Interval, Reference
from reports.verdict import BASE_MODEL, CONSTANT_ANSWER, Verdict, beaten_by, contrasts, judge, judge_run
from sweep.spec import ReportSpec
from sweep.store import RunDirectory

Builder = Callable[..., RunDirectory]


def made(difference: float, error: float, *, metric: str = "own/exact_match", better: bool = True) -> Contrast:
    reference = Reference(199)
    half = reference.quantile(0.025) * error
    return Contrast(
        metric=metric,
        one="lora",
        other="qlora",
        scores=(0.5 + difference, 0.5),
        difference=difference,
        interval=Interval(difference - half, difference + half),
        p_value=reference.two_sided(difference / error),
        test="t over items and seeds",
        items=200,
        clusters=None,
        seeds=(3, 3),
        item_stderr=error,
        seed_stderr=0.0,
        seed_noise="measured",
        higher_is_better=better,
        is_proportion=metric != "own/loss",
        unpaired=(0, 0),
        centre=difference,
        reference=reference,
    )


def only(contrast: Contrast, **report: object) -> Verdict:
    (verdict,) = judge([contrast], ReportSpec.model_validate(report), headline=contrast.metric)
    return verdict


def test_each_outcome_comes_where_it_belongs() -> None:
    assert only(made(0.05, 0.01)).outcome == "better"
    assert only(made(-0.05, 0.01)).outcome == "worse"
    assert only(made(0.05, 0.01, metric="own/loss", better=False)).outcome == "worse"
    assert only(made(0.001, 0.002)).outcome == "equivalent"
    assert only(made(0.02, 0.02)).outcome == "undecided"


def test_a_difference_within_the_margin_is_none_even_where_it_is_no_chance() -> None:
    verdict = only(made(0.005, 0.001))

    assert verdict.adjusted_p_value < 0.001
    assert verdict.outcome == "equivalent"
    assert verdict.sentence.endswith("equivalent within 1 point, though the difference is no chance.")


def test_margins_are_the_studys_and_a_loss_has_none_unless_it_is_named() -> None:
    loss = made(0.001, 0.002, metric="own/loss", better=False)

    assert (only(loss).margin, only(loss).outcome) == (None, "undecided")
    assert only(loss, margins={"own/loss": 0.01}).outcome == "equivalent"
    assert only(made(0.001, 0.002), margins={"own/exact_match": 0.003}).outcome == "undecided"


def test_headline_contrasts_are_corrected_by_holm_and_others_apart() -> None:
    headline = [made(0.022, 0.01) for _ in range(3)]
    others = [made(0.022, 0.01, metric="gsm8k/exact_match") for _ in range(4)]

    verdicts = judge([*headline, *others], ReportSpec(), headline="own/exact_match")

    assert [verdict.family for verdict in verdicts] == [3] * 3 + [4] * 4
    assert verdicts[0].adjusted_p_value == pytest.approx(3 * headline[0].p_value)
    assert verdicts[-1].adjusted_p_value == pytest.approx(others[0].p_value)
    assert verdicts[0].outcome == "undecided"
    assert verdicts[-1].outcome == "better"


def test_a_sentence_can_be_quoted() -> None:
    assert only(made(0.041, 0.016)).sentence == (
        "lora scored 0.541 on own/exact_match, 4.1 points above qlora (95 % interval 0.9 to 7.3, p = 0.011, "
        "200 items, 3 seeds each): better."
    )


def test_an_undecided_contrast_says_what_would_decide_it() -> None:
    verdict = only(made(0.03, 0.02))

    # 80 % power at 5 % takes an error of 0.03 / 2.82.
    assert verdict.items_needed == pytest.approx(200 * (0.02 * 2.815 / 0.03) ** 2, rel=0.02)
    assert verdict.detectable == pytest.approx(2.815 * 0.02, rel=0.01)
    assert "710 items would decide it" in verdict.sentence


def test_every_pair_each_against_the_base_and_the_constant_answer(finished_run: RunDirectory) -> None:
    found = contrasts(gather(finished_run))

    pairs = {(one.one, one.other) for one in found if one.metric == "own/exact_match"}
    methods = ("lora", "qlora", "full")
    assert pairs == {("lora", "qlora"), ("lora", "full"), ("qlora", "full")} | {
        (method, reference) for method in methods for reference in (BASE_MODEL, CONSTANT_ANSWER)
    }
    assert {one.metric for one in found} >= {"own/loss", "gsm8k/exact_match,strict-match"}


def test_items_of_one_group_are_clustered_and_verdicts_are_the_same_each_time(finished_run: RunDirectory) -> None:
    first, second = (judge_run(gather(finished_run), "own/exact_match") for _ in range(2))

    assert first.headline[0].contrast.clusters == 7
    assert [verdict.sentence for verdict in first.all] == [verdict.sentence for verdict in second.all]
    assert {"qlora", BASE_MODEL} & beaten_by("lora", first.headline) == {BASE_MODEL}


def test_items_that_only_one_side_has_are_left_out_and_counted(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    for number in (1, 2, 3):
        path = next(run.confirm_trial("lora", number).eval.glob("samples_own_*"))
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-4]))

    judgement = judge_run(gather(run), "own/exact_match")

    one = next(verdict for verdict in judgement.headline if verdict.contrast.other == "qlora")
    assert one.contrast.items == 56
    assert one.contrast.unpaired == (0, 4)
    assert "4 items that only one side has left out" in one.sentence


def test_failed_seeds_and_broken_files_leave_what_can_be_compared(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    lose(run.confirm_trial("lora", 2))
    next(run.confirm_trial("full", 1).eval.glob("samples_own_*")).write_text("{")

    judgement = judge_run(gather(run), "own/exact_match")

    seeds = {(verdict.contrast.one, verdict.contrast.other): verdict.contrast.seeds for verdict in judgement.headline}
    assert seeds["lora", "qlora"] == (2, 3)
    assert seeds["qlora", "full"] == (3, 2)
    assert any("answers of full could not be read" in note for note in judgement.notes)


def test_a_diverged_loss_gives_no_verdict_and_breaks_none(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    path = next(run.confirm_trial("lora", 1).eval.glob("samples_own_*"))
    samples = [json.loads(line) | {"loss": [math.nan, 5]} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))

    judgement = judge_run(gather(run), "own/exact_match")

    assert len(judgement.headline) == 9
    assert all(math.isfinite(verdict.contrast.difference) for verdict in judgement.all)


def test_until_the_test_split_is_scored_there_are_no_verdicts(tmp_path: Path, build: Builder) -> None:
    assert judge_run(gather(build(tmp_path, confirm=False)), "own/exact_match").all == ()
