"""`report.json`: unrounded, readable by any JSON parser, and leading to files that are there."""

import json
import math

import pandas as pd
import pytest

from reports import render
from reports.fields import Report
from sweep.store import RunDirectory


def test_every_number_is_the_records_own_and_leads_to_its_files(finished_run: RunDirectory) -> None:
    path = render.build(finished_run).parent / "report.json"
    found = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)

    report = Report.model_validate(found)
    assert report.schema_version == 1
    [score] = [one for one in report.scores if (one.name, one.metric) == ("lora", "own/exact_match")]
    records = finished_run.confirm_records("lora")
    values = [record.evaluation.metrics["own/exact_match"].value for record in records if record.evaluation]
    assert math.isclose(score.value, sum(values) / 3, rel_tol=1e-12)
    assert score.trials == ("confirm/lora/seed-1", "confirm/lora/seed-2", "confirm/lora/seed-3")
    trials = {trial.trial: trial for trial in report.trials}
    assert set(score.trials) <= set(trials)
    for trial in report.trials:
        assert (finished_run.path / trial.config).is_file()
        assert all((finished_run.path / item).is_file() for item in trial.items.values())
    assert trials["confirm/lora/seed-1"].commands == {
        "score": "sweep eval runs/tickets/confirm/lora/seed-1",
        "train": "sweep rerun runs/tickets confirm/lora/seed-1",
    }
    assert trials["search/lora/0000"].items
    assert not trials["search/lora/0006"].commands  # reused


def test_it_agrees_with_the_table_for_other_programs(finished_run: RunDirectory) -> None:
    report = render.build(finished_run).parent
    found = json.loads((report / "report.json").read_text("utf-8"))

    table = pd.read_csv(report / "tables" / "methods.csv")

    scores = {(one["name"], one["metric"]): one["value"] for one in found["scores"]}
    assert scores == pytest.approx({(row.method, row.metric): row.value for row in table.itertuples()})


def test_the_whole_study_took_what_its_parts_took_together(finished_run: RunDirectory) -> None:
    noted = json.loads(finished_run.environment.read_text("utf-8")) if finished_run.environment.exists() else {}
    finished_run.environment.write_text(json.dumps(noted | {"data": {"prepare_seconds": 4.5}}), "utf-8")
    report = Report.model_validate_json(render.build(finished_run).with_name("report.json").read_text("utf-8"))

    *rows, whole = report.time
    assert len(rows) > 1
    assert (rows[0].name, whole.name) == ("base model", "whole study")
    assert whole.runs == sum(row.runs for row in rows)
    assert whole.tokens == sum(row.tokens for row in rows) > 0
    for part, seconds in whole.seconds.items():
        assert seconds == pytest.approx(sum(row.seconds.get(part, 0.0) for row in rows))
    assert report.prepare_seconds == 4.5
