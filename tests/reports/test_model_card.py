"""Cards that the Hub's own library reads back, with every score in them."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from reports import render
from reports.benchmarks import read_benchmarks
from sweep.store import RunDirectory

RESULTS = {
    "configs": {
        "gsm8k": {"dataset_path": "openai/gsm8k", "dataset_name": "main", "test_split": "test"},
        "own": {"dataset_path": "json", "dataset_name": None},
        "mmlu_law": {"dataset_path": "cais/mmlu", "dataset_name": "law", "test_split": "test"},
        "mmlu_art": {"dataset_path": "cais/mmlu", "dataset_name": "art", "test_split": "test"},
        "local": {"dataset_path": "/data/x"},
    },
    "group_subtasks": {"mmlu": ["mmlu_law", "mmlu_art"], "mixed": ["gsm8k", "mmlu_law"]},
}


@pytest.fixture
def report(tmp_path: Path, build) -> Path:
    run: RunDirectory = build(tmp_path)
    for method in ("lora", "qlora", "full"):
        (run.confirm_trial(method, 1).eval / "results_2026.json").write_text(json.dumps(RESULTS))
    return render.build(run).parent


def test_a_card_is_read_back_with_every_score(report: Path) -> None:
    text = (report / "cards" / "lora" / "README.md").read_text("utf-8")

    card = ModelCard(text)

    assert str(card.data.model_name) == "tickets-lora"
    assert card.data.library_name == "peft"
    found = {result.metric_name: result for result in card.data.eval_results}
    assert set(found) == {"own/exact_match", "own/loss", "own/json_valid", "gsm8k/exact_match,strict-match"}
    assert found["own/exact_match"].metric_value == pytest.approx(37 / 60)
    assert found["own/exact_match"].metric_args["seeds"] == 3
    assert found["gsm8k/exact_match,strict-match"].dataset_type == "openai/gsm8k"
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    assert "sweep rerun runs/tickets confirm/lora/seed-1" in card.text


def test_benchmarks_scored_whole_get_a_file_for_leaderboards(report: Path) -> None:
    files = sorted((report / "cards" / "lora" / ".eval_results").iterdir())

    assert [path.name for path in files] == ["gsm8k.yaml"]
    [entry] = parse_eval_result_entries(yaml.safe_load(files[0].read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "main", 0.0)
    assert entry.date == "2026-01-02T03:07:05Z"
    assert entry.notes is not None
    assert "mean of 3 seeds" in entry.notes


def test_data_sets_come_from_the_result_files(report: Path) -> None:
    found = read_benchmarks(report.parent / "confirm" / "lora" / "seed-1" / "eval")

    assert {task: (one.dataset, one.config) for task, one in found.items()} == {
        "gsm8k": ("openai/gsm8k", "main"),
        "mmlu_law": ("cais/mmlu", "law"),
        "mmlu_art": ("cais/mmlu", "art"),
        "mmlu": ("cais/mmlu", None),
    }


def test_without_test_scores_there_is_no_card(tmp_path: Path, build) -> None:
    assert not (render.build(build(tmp_path, confirm=False)).parent / "cards").exists()
