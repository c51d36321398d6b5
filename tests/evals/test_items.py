"""Per-item scores, read back from lm-evaluation-harness's sample files."""

import json
from pathlib import Path

import pytest

from evals.errors import RunError
from evals.items import read_items

STAMP = "2026-01-31T12-00-00.123456"


def write(directory: Path, task: str, *samples: dict[str, object], stamp: str = STAMP) -> None:
    base = {"doc_id": 0, "doc": {}, "target": "t", "filter": "none", "doc_hash": "h", "metrics": ["acc"], "acc": 1.0}
    lines = [json.dumps({**base, "filtered_resps": ["x"], **sample}) for sample in samples]
    (directory / f"samples_{task}_{stamp}.jsonl").write_text("\n".join(lines) + "\n")


def test_a_choice_is_answered_by_the_number_of_the_most_likely(tmp_path: Path) -> None:
    write(tmp_path, "mmlu_anatomy", {"filtered_resps": [["-3.0", "False"], ["-1.5", "True"]], "target": "1"})

    (item,) = read_items(tmp_path)

    assert (item.task, item.answer, item.target, item.scores) == ("mmlu_anatomy", "1", "1", {"acc": 1.0})
    assert (item.row, item.group, item.weights) == (None, None, {})


def test_a_generated_answer_is_its_text(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", {"filtered_resps": ["#### 7"]}, {"filtered_resps": [["def f(): ..."]], "doc_id": 1})

    assert [item.answer for item in read_items(tmp_path)] == ["#### 7", "def f(): ..."]


def test_items_are_ordered_by_task_filter_and_place(tmp_path: Path) -> None:
    write(tmp_path, "b", {"doc_id": 1, "filter": "strict"}, {"doc_id": 0, "filter": "strict"}, {"filter": "loose"})
    write(tmp_path, "a", {}, stamp="2026-01-31T12-00-00")

    found = [(item.task, item.filter, item.doc_id) for item in read_items(tmp_path)]

    assert found == [("a", "none", 0), ("b", "loose", 0), ("b", "strict", 0), ("b", "strict", 1)]


def test_ratios_come_with_their_weight_and_labels_are_no_score(tmp_path: Path) -> None:
    own = {
        "doc": {"row": 7, "group": "g"},
        "metrics": ["loss", "macro_f1", "accuracy"],
        "loss": [6.0, 4],
        "macro_f1": ["up", "down"],
        "accuracy": 0.0,
        "filtered_resps": [["-6.0", "4"], ["-6.0", "4"], ["-2.0", "4"]],
    }
    write(tmp_path, "own", own)

    (item,) = read_items(tmp_path)

    assert item.scores == {"loss": 1.5, "accuracy": 0.0}
    assert item.weights == {"loss": 4.0}
    assert (item.answer, item.row, item.group) == ("down", 7, "g")


def test_a_column_of_another_task_is_not_taken_for_ours(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", {"doc": {"row": 7, "group": "g"}})

    assert read_items(tmp_path)[0].row is None


def test_a_directory_without_scores_has_no_items(tmp_path: Path) -> None:
    assert read_items(tmp_path) == []


@pytest.mark.parametrize("line", ["{", "[]", '{"doc_id": 0}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / f"samples_a_{STAMP}.jsonl").write_text(line + "\n")

    with pytest.raises(RunError, match=r"\.jsonl:1: not a sample"):
        read_items(tmp_path)
