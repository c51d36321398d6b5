"""Every row leads to the command that gives it again, and the report says how often the test data were opened."""

from collections.abc import Callable
from pathlib import Path

from evals.spec import TaskSpec
from reports import commands, render, wording
from reports.document import Table, text_of
from reports.gather import gather
from sweep.openings import record_opening
from sweep.spec import BudgetSpec, EvaluationSpec, StudySpec
from sweep.store import RunDirectory

Builder = Callable[..., RunDirectory]
Studies = Callable[..., StudySpec]


def test_each_row_that_was_run_has_the_command_that_runs_it_again(finished_run: RunDirectory) -> None:
    gathered = gather(finished_run)

    table = next(block for block in commands.blocks(gathered) if isinstance(block, Table))

    rows = {text_of(row[0]): row[2:] for row in table.rows}
    assert rows["lora trial 3"] == [
        "sweep eval runs/tickets/search/lora/0003",
        "sweep rerun runs/tickets search/lora/0003",
    ]
    assert rows["full seed 2"][1] == "sweep rerun runs/tickets confirm/full/seed-2"
    assert rows["baseline on validation"][1] == "sweep rerun runs/tickets baseline"
    assert rows["baseline on test"][1] == "sweep rerun runs/tickets confirm/baseline"
    # Nothing was saved of a trial that failed, but it can be run again; a copied one was not run.
    assert rows["lora trial 2"] == [wording.NONE, "sweep rerun runs/tickets search/lora/0002"]
    assert "lora trial 6" not in rows
    run = finished_run.path
    assert all((run / row[1].split()[-1] / "record.json").is_file() for row in rows.values())


def test_a_model_that_brings_code_is_run_again_by_who_says_so(finished_run: RunDirectory) -> None:
    gathered = gather(finished_run)
    record = finished_run.search_records("lora")[0]
    coded = record.config.model.model_copy(update={"trust_remote_code": True, "revision": "0" * 40})
    asked = record.model_copy(update={"config": record.config.model_copy(update={"model": coded})})

    found = commands.commands_of(asked, gathered)

    assert all(command.endswith(" --trust-remote-code") for command in found.values())


def test_the_report_says_how_often_the_test_data_were_opened_where_that_was_counted(
    build: Builder, study: Studies, tmp_path: Path
) -> None:
    run = build(tmp_path, study(("lora",), trials=2, seeds=1))
    assert "were opened" not in (render.build(run).parent / "report.md").read_text("utf-8")
    for who in ("base model", "lora seed 1", "lora seed 1"):
        record_opening(run, by="study", who=who, tasks=("own",))

    text = (render.build(run).parent / "report.md").read_text("utf-8")

    assert "The test data were opened 3 times, for 2 models; more than once for lora seed 1 twice." in text


def test_a_budget_and_divided_items_are_told_as_they_are(build: Builder, study: Studies, tmp_path: Path) -> None:
    both = EvaluationSpec(
        search=(TaskSpec(task="own"), TaskSpec(task="gsm8k", limit=20)),
        confirm=(TaskSpec(task="own"), TaskSpec(task="gsm8k")),
    )
    spec = study(("lora",), trials=2, seeds=1).model_copy(
        update={"budget": BudgetSpec(tokens_per_method=2_000_000, confirm_seeds=1), "evaluation": both}
    )

    finished = (render.build(build(tmp_path / "whole", spec)).parent / "report.md").read_text("utf-8")
    half = (render.build(build(tmp_path / "half", spec, confirm=False)).parent / "report.md").read_text("utf-8")

    assert "Each method had 2,000,000 training tokens with the gp sampler" in finished
    assert "the search has 20 items of each task, confirm the others" in finished
    assert "lora (6 trials, 240,000 of 2,000,000 training tokens)" in half
