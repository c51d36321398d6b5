"""A run that is unfinished, damaged or partly lost is reported all the same, and what is missing is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from report_page import page
from reported_run import lose

from reports import render
from sweep.errors import RunDirectoryError
from sweep.record import Failure
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_record

Builder = Callable[..., RunDirectory]
Studies = Callable[..., StudySpec]


def test_a_study_with_a_baseline_only_is_reported(tmp_path: Path, build: Builder, study: Studies) -> None:
    run = build(tmp_path, study(("lora",)), search=False, confirm=False)

    text = page(render.build(run).parent).text

    assert "This study is unfinished: the search has reached lora (0 of 6 trials)." in text
    assert "No method has been scored yet. The base model has own/exact_match 0.050 ± 0.032" in text


def test_a_study_in_which_nothing_ran_is_reported(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path, search=False, confirm=False)
    shutil.rmtree(run.baseline.path)

    text = page(render.build(run).parent).text

    assert "the base model has not been scored yet" in text
    assert "Nothing has been scored yet." in text


def test_scores_from_the_validation_split_are_said_to_flatter(tmp_path: Path, build: Builder) -> None:
    text = page(render.build(build(tmp_path, confirm=False)).parent).text

    assert "on the validation split, on which it was chosen: they look better than they are" in text
    assert (
        "the test split has been scored for lora (0 of 3 seeds), qlora (0 of 3 seeds) and full (0 of 3 seeds)" in text
    )


def test_lost_repetitions_and_unreadable_records_are_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    lose(run.confirm_trial("lora", 2))
    run.confirm_trial("full", 3).record.write_text("{}")

    text = page(render.build(run).parent).text

    assert "1 repetition of lora ended without a score (out_of_memory); its scores come from the others." in text
    assert "confirm/full/seed-3/record.json is not a record that this version can read." in text
    assert "mean of 2 seeds" in text


def test_a_method_that_never_completed_a_trial_is_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path, confirm=False)
    for directory in (run.path / "search" / "full").iterdir():
        if directory.name != "0002":
            shutil.rmtree(directory)

    text = page(render.build(run).parent).text

    assert "No trial of full was completed, so it has no best settings and no test score." in text


def test_damaged_answers_are_said_and_cost_nothing_else(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    for path in run.confirm_baseline.eval.iterdir():
        path.write_text("{")

    text = page(render.build(run).parent).text

    assert "The per-item answers could not be read" in text
    assert "lora has the highest" in text


def test_where_no_answers_were_written_none_are_shown(tmp_path: Path, build: Builder, study: Studies) -> None:
    run = build(tmp_path, study(("lora",)), search=False, confirm=False)
    for path in run.baseline.eval.glob("samples_*"):
        samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        lines = [json.dumps(sample | {"filtered_resps": [""]}) + "\n" for sample in samples]
        path.write_text("".join(lines), "utf-8")

    assert "Example answers" not in page(render.build(run).parent).text


def test_trials_without_a_record_and_scores_without_answers_are_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    run.search_trial("lora", 1).record.unlink()
    shutil.rmtree(run.search_trial("lora", 3).path)
    run.search_trial("full", 4).record.write_text(run.search_trial("full", 4).record.read_text()[:100])
    shutil.rmtree(run.confirm_trial("qlora", 2).eval)
    run.confirm_trial("qlora", 1).steps.write_text('{"step": 1, "lo')

    text = page(render.build(run).parent).text

    assert "2 trials of lora left no record (numbers 1 and 3)." in text
    assert "search/full/0004/record.json is not a record that this version can read." in text
    assert "of full left no record" not in text
    assert "The per-item answers of 1 scored row are not in the run directory" in text


def test_trials_that_could_not_fit_are_reported(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    directory = run.search_trial("qlora", 1)
    record = directory.read_record()
    assert record is not None
    failure = Failure(kind="infeasible", message="Needs 31 GB of 24 GB.")
    changes = {"state": "FAIL", "failure": failure, "evaluation": None, "objective": None, "training": None}
    write_record(directory, record.model_copy(update=changes))

    text = page(render.build(run).parent).text

    assert "FAIL: infeasible" in text
    assert "Needs 31 GB of 24 GB." in text


def test_nothing_stays_of_an_earlier_state_of_the_run(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    render.build(run)
    shutil.rmtree(run.path / "confirm")

    report = render.build(run).parent

    assert not (report / "cards").exists()
    assert not (report / "figures" / "search_and_test.svg").exists()


def test_a_directory_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"no study\.yaml here"):
        render.build(RunDirectory(tmp_path))
