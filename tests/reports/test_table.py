"""Records as tables: every row is there, every documented column too, and nothing is made up."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reports import table
from sweep.spec import StudySpec
from sweep.store import RunDirectory


def test_trials_has_a_row_for_every_record(finished_run: RunDirectory) -> None:
    found = table.trials(finished_run)

    assert list(found.columns[: len(table.TRIAL_COLUMNS)]) == list(table.TRIAL_COLUMNS)
    assert len(found) == 2 + 3 * (7 + 3)
    assert found["trial"].is_unique
    assert sorted(
        path.parent.relative_to(finished_run.path).as_posix() for path in finished_run.path.rglob("record.json")
    ) == (sorted(found["trial"]))


def test_a_trials_row_says_what_its_record_says(finished_run: RunDirectory) -> None:
    found = table.trials(finished_run).set_index("trial")
    row, failed = found.loc["search/lora/0003"], found.loc["search/lora/0002"]
    record = finished_run.search_trial("lora", 3).read_record()

    assert record is not None
    assert record.training is not None
    assert row["objective"] == record.objective
    assert row["objective_stderr"] == 0.02
    assert row["params.methods.lora.peft.lora_r"] == 64
    assert row["validation_loss"] == record.training.validation_loss
    assert row["metrics.own/exact_match"] == pytest.approx(0.575)
    assert (failed["state"], failed["failure_kind"]) == ("FAIL", "out_of_memory")
    assert found.loc["search/lora/0006", "reused_from"] == 0


def test_steps_keep_training_and_validation_apart(finished_run: RunDirectory) -> None:
    found = table.steps(finished_run)
    one = found[found["trial"] == "search/lora/0003"]

    assert one["loss"].count() == 24
    assert list(one[one["validation_loss"].notna()]["step"]) == [6, 12, 18, 24]


def test_items_can_be_paired_by_hash(finished_run: RunDirectory) -> None:
    found = table.items(finished_run)
    found = found[found["task"] == "own"]
    one = found[found["trial"] == "confirm/lora/seed-1"]
    base = found[found["trial"] == "confirm/baseline"]

    assert len(one) == 60
    assert set(one["doc_hash"]) == set(base["doc_hash"])
    assert one["scores.exact_match"].mean() == pytest.approx(36 / 60)
    assert set(one["row"]) == set(range(10, 70))


def test_a_run_without_trials_gives_the_documented_columns(
    tmp_path: Path, build: Callable[..., RunDirectory], study: Callable[..., StudySpec]
) -> None:
    run = build(tmp_path, study(("lora",)), search=False, confirm=False)

    assert list(table.steps(run).columns) == list(table.STEP_COLUMNS)
    assert len(table.trials(run)) == 1


def test_reading_a_run_loads_no_torch() -> None:
    code = "import sys, reports.table, reports.render; sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
