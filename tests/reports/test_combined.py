"""Several runs in one table, which says where rows must not be compared."""

import json
from pathlib import Path

import pandas as pd
import pytest

from reports import combined
from sweep import cli
from sweep.store import RunDirectory, write_record


@pytest.fixture
def runs(tmp_path: Path, build, study) -> list[RunDirectory]:
    other = study(("lora", "full"))
    model = other.model.model_copy(update={"model_name_or_path": "org/other"})
    return [build(tmp_path), build(tmp_path, other.model_copy(update={"name": "again", "model": model}))]


def test_all_methods_of_all_runs_stand_in_every_form(runs: list[RunDirectory], tmp_path: Path) -> None:
    page = combined.build(runs, tmp_path / "both")

    text = (page.parent / "report.md").read_text("utf-8")
    assert "The base models differ (tickets: toy; again: org/other)." in text
    assert "[again](./../runs/again/report/index.html)" in text
    table = pd.read_csv(page.parent / "tables" / "runs.csv")
    assert set(zip(table["run"], table["method"], strict=True)) >= {("tickets", "qlora"), ("again", "full")}
    assert "again" in (page.parent / "tables" / "scores.tex").read_text("utf-8")
    found = json.loads((page.parent / "report.json").read_text("utf-8"))
    assert [run["label"] for run in found["runs"]] == ["tickets", "again"]
    assert "own/exact_match" in found["metrics"]
    assert page.read_text("utf-8").count("<script>") == 1


def test_other_rows_are_said_and_equal_runs_are_comparable(runs: list[RunDirectory], tmp_path: Path, build) -> None:
    same = build(tmp_path / "copy")
    alike = combined.build([runs[0], same], tmp_path / "alike").parent / "report.json"
    assert json.loads(alike.read_text("utf-8"))["differences"] == []
    for number in (1, 2, 3):
        for method in ("lora", "qlora", "full"):
            directory = same.confirm_trial(method, number)
            record = directory.read_record()
            assert record is not None
            write_record(directory, record.model_copy(update={"data_sha256": {"test": "f" * 64}}))

    apart = combined.build([runs[0], same], tmp_path / "apart").parent / "report.json"

    [said] = json.loads(apart.read_text("utf-8"))["differences"]
    assert "The own rows differ" in said


def test_a_place_for_a_single_run_is_refused(runs: list[RunDirectory], tmp_path: Path) -> None:
    assert cli.main(["report", str(runs[0].path), "--to", str(tmp_path / "x")]) == 2
    assert cli.main(["report", *(str(run.path) for run in runs), "--to", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x" / "index.html").is_file()
