"""What was forgotten: only on what was not trained for, and only as verdicts say."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evals.result import Metric
from reports.document import Paragraph, Table
from reports.forgetting import changes, forgetting_blocks
from reports.gather import Gathered, gather
from reports.verdict import judge_run
from sweep.spec import ReportSpec, StudySpec
from sweep.store import RunDirectory, write_record

Builder = Callable[..., RunDirectory]


def score(run: RunDirectory, task: str, values: dict[str, Sequence[float]]) -> Gathered:
    """Give the base model and finalists per-item scores on a task, as lm-evaluation-harness writes them."""
    gathered = gather(run)
    assert gathered.confirm_baseline is not None
    records = {"base model": (gathered.confirm_baseline,)}
    records |= {method.name: method.confirm for method in gathered.methods}
    for name, found in values.items():
        for record in records[name]:
            directory = run.directory_of(record.config)
            lines = [
                {"doc_id": place, "doc": {}, "doc_hash": f"{task}{place}", "filter": "none", "target": "x"}
                | {"filtered_resps": ["x"], "metrics": ["acc"], "acc": value}
                for place, value in enumerate(found)
            ]
            path = directory.eval / f"samples_{task}_2026-01-02T03-04-05.000000.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
            assert record.evaluation is not None
            metric = Metric(value=sum(found) / len(found), stderr=0.03, n=len(found), higher_is_better=True)
            metrics = {**record.evaluation.metrics, f"{task}/acc": metric}
            evaluation = record.evaluation.model_copy(update={"metrics": metrics})
            write_record(directory, record.model_copy(update={"evaluation": evaluation}))
    return gather(run)


@pytest.fixture
def blocks_of(tmp_path: Path, build: Builder, study: Callable[..., StudySpec]) -> Callable[..., list[str]]:
    def make(report: ReportSpec, **values: Sequence[float]) -> list[str]:
        run = build(tmp_path, study().model_copy(update={"report": report}))
        gathered = score(run, "arc", {name.replace("_", " "): found for name, found in values.items()})
        verdicts = [one for one in judge_run(gathered, "own/exact_match").all if "gsm8k" not in one.contrast.metric]
        blocks = forgetting_blocks(gathered, verdicts)
        tables = [block for block in blocks if isinstance(block, Table)]
        assert len(tables) == 1
        # The user's own rows are what training was for.
        assert {str(row[1]) for row in tables[0].rows} == {"arc/acc ↑"}
        return [block.text for block in blocks if isinstance(block, Paragraph)]

    return make


GOOD = [1.0, 1.0, 1.0, 0.0] * 50


def test_losses_gains_and_what_stayed_are_told(blocks_of: Callable[..., list[str]]) -> None:
    worse = [0.0, 1.0, 0.0, 0.0] * 50

    texts = blocks_of(ReportSpec(margin=0.02), base_model=GOOD, lora=GOOD, qlora=[1.0] * 200, full=worse)

    assert texts[0] == "lora is as good as before, within the margin, on arc/acc."
    assert texts[1].startswith("qlora gained on arc/acc (+25.0 points, 95 % interval +")
    assert texts[2].startswith("full lost against the base model on arc/acc (-50.0 points, 95 % interval -")


def test_a_small_fall_on_few_items_is_not_decided(blocks_of: Callable[..., list[str]]) -> None:
    fallen = [*GOOD[:-4], 1.0, 0.0, 1.0, 1.0]

    texts = blocks_of(ReportSpec(margin=0.001), base_model=GOOD, lora=fallen)

    assert texts == ["No loss or gain of lora is shown. Not decided: arc/acc."]


def test_where_only_own_rows_were_scored_the_way_to_see_it_is_said(
    tmp_path: Path, build: Builder, study: Callable[..., StudySpec]
) -> None:
    gathered = gather(build(tmp_path, study(("lora",)), search=True, confirm=False))

    [block] = forgetting_blocks(gathered, [])

    assert isinstance(block, Paragraph)
    assert "only the user's own rows were scored" in block.text


def test_a_benchmark_without_answers_to_pair_tells_nothing(
    tmp_path: Path, build: Builder, study: Callable[..., StudySpec]
) -> None:
    run = build(tmp_path, study())
    for path in run.path.rglob("samples_gsm8k_*"):
        path.unlink()
    gathered = gather(run)
    verdicts = judge_run(gathered, "own/exact_match").all

    assert changes(verdicts) == []
    [block] = forgetting_blocks(gathered, verdicts)
    assert isinstance(block, Paragraph)
    assert "no finalist and the base model have scores of single items on the same tasks" in block.text
