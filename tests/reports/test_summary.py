"""The numbers behind the report: what is compared, on which split, and who leads."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from evals.result import Metric
from reports.gather import gather
from reports.summary import deciding_metric, summarize
from sweep.record import TrialRecord
from sweep.spec import ObjectiveSpec, StudySpec
from sweep.store import RunDirectory, write_record


def test_the_test_split_decides_once_it_is_scored(finished_run: RunDirectory) -> None:
    found = summarize(gather(finished_run))

    assert (found.split, found.metric) == ("test", "own/exact_match")
    assert [method.name for method in found.ranked] == ["lora", "qlora", "full"]
    assert found.ranked[0].scores["own/exact_match"].value == pytest.approx(37 / 60)
    assert found.ranked[0].scores["own/exact_match"].seeds == 3
    assert found.baseline["own/exact_match"].value == pytest.approx(2 / 60)
    assert found.constant["own/exact_match"].value == pytest.approx(9 / 60)
    assert found.ranked[0].trainable_share == pytest.approx(4_884_480 / 139_399_488)
    assert found.ranked[0].peak_memory_bytes == 1_930_000_000
    assert not found.on_device


def test_until_then_the_best_trials_are_compared_where_they_were_chosen(
    tmp_path: Path, build: Callable[..., RunDirectory]
) -> None:
    found = summarize(gather(build(tmp_path, confirm=False)))

    assert found.split == "validation"
    assert found.ranked[0].scores["own/exact_match"].items == 40


def test_what_the_study_maximizes_decides(study: Callable[..., StudySpec]) -> None:
    spec = study()
    maximizing = spec.model_copy(update={"objective": ObjectiveSpec(maximize="own/field_match")})
    available = ["mmlu/acc", "own/exact_match", "own/field_match", "own/loss"]

    assert deciding_metric(maximizing, available) == "own/field_match"
    assert deciding_metric(spec, available) == "own/exact_match"
    assert deciding_metric(spec, ["own/bits_per_byte", "own/loss"]) == "own/loss"
    assert deciding_metric(spec, ["mmlu/acc"]) == "mmlu/acc"
    assert deciding_metric(spec, []) is None


def test_the_lowest_loss_leads(
    tmp_path: Path, build: Callable[..., RunDirectory], study: Callable[..., StudySpec]
) -> None:
    run = build(tmp_path, study(seeds=1))
    only_loss(run, "full", 0.2)
    only_loss(run, "lora", 0.3)
    only_loss(run, "qlora", math.nan)

    found = summarize(gather(run))

    assert found.metric == "own/loss"
    assert [method.name for method in found.ranked] == ["full", "lora", "qlora"]


def test_a_reused_trial_is_never_the_finalist(finished_run: RunDirectory) -> None:
    for method in gather(finished_run).methods:
        assert method.best is not None
        assert method.best.reused_from is None
        assert method.spent == 6


def only_loss(run: RunDirectory, method: str, loss: float) -> None:
    directory = run.confirm_trial(method, 1)
    record = directory.read_record()
    assert record is not None
    assert record.evaluation is not None
    metrics = {"own/loss": Metric(value=loss, stderr=0.01, n=60, higher_is_better=False)}
    evaluation = record.evaluation.model_copy(update={"metrics": metrics})
    write_record(directory, TrialRecord.model_validate(record.model_copy(update={"evaluation": evaluation})))
