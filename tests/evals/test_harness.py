"""Scoring the user's own rows: what is asked, what is computed, and what lands on disk."""

import json
import math
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.errors import RunError, TaskError
from evals.harness import score
from evals.items import read_items
from evals.models.scored import load_lm
from evals.result import EvalResult
from evals.spec import ModelSpec, OwnDataSpec, ScoringSpec, TaskSpec

SCORING = ScoringSpec(batch_size=2)
OWN = TaskSpec(task="own")
LOSS_ONLY = TaskSpec(task="own", generate=False)
PAIRS = [("Where?", '{"city": "Rome"}'), ("And then, after that?", '{"city": "Lisbon", "day": 3}'), ("Who?", "{}")]


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=2)


def answer_with(lm: HFLM, monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> None:
    """Let the model generate these answers in turn; all else stays its own."""
    monkeypatch.setattr(lm, "generate_until", lambda requests: answers[: len(requests)], raising=True)


def score_own(lm: HFLM, own: OwnDataSpec, output: Path, task: TaskSpec = OWN) -> EvalResult:
    return score(lm, [task], SCORING, own=own, output=output)


def test_loss_is_the_cross_entropy_of_the_completions_tokens(write_own, lm, tiny_model, tmp_path) -> None:
    own = write_own(PAIRS, "json")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    total, tokens, size = 0.0, 0, 0
    for question, answer in PAIRS:
        # The line break that ends the prompt is scored with the completion.
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant"
        completion = f"\n{answer}<|im_end|>\n"
        ids = torch.tensor([tokenizer.encode(prompt + completion)])
        border = len(tokenizer.encode(prompt))
        with torch.no_grad():
            logits = model(ids).logits[0, border - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, ids[0, border:], reduction="sum").item()
        tokens += ids.shape[1] - border
        size += len(completion.encode())

    metrics = score_own(lm, own, tmp_path / "eval", LOSS_ONLY).metrics

    assert set(metrics) == {"own/loss", "own/bits_per_byte"}
    assert metrics["own/loss"].value == pytest.approx(total / tokens, rel=1e-5)
    assert metrics["own/bits_per_byte"].value == pytest.approx(total / math.log(2) / size, rel=1e-5)
    assert metrics["own/loss"].stderr is not None
    assert metrics["own/loss"].n == 3
    assert not metrics["own/loss"].higher_is_better


def test_json_answers_are_graded_and_set_beside_the_best_constant(write_own, lm, monkeypatch, tmp_path) -> None:
    own = write_own(PAIRS, "json", constant_answers=('{"city": "Rome"}', "{}", "no JSON"))
    answer_with(lm, monkeypatch, ['{"city": "Rome"}', '```\n{"city": "Lisbon", "day": 4}\n```', "?"])

    result = score_own(lm, own, tmp_path / "eval")

    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values["own/exact_match"] == pytest.approx(1 / 3)
    assert values["own/field_match"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert values["own/json_valid"] == pytest.approx(1 / 3)
    assert values["own/no_answer"] == pytest.approx(1 / 3)
    pooled = {"field_precision", "field_recall", "field_f1", "field_f1/city", "field_f1/day"}
    graded = {"exact_match", "field_match", "json_valid", *pooled}
    assert set(result.constant) == {f"own/{name}" for name in graded}
    # Two leaves right of three given and of four expected; both cities, and the only day is wrong.
    assert values["own/field_precision"] == pytest.approx(2 / 3)
    assert values["own/field_recall"] == pytest.approx(2 / 4)
    assert (values["own/field_f1/city"], values["own/field_f1/day"]) == (1.0, 0.0)
    assert result.constant["own/exact_match"].value == pytest.approx(1 / 3)
    assert result.constant["own/json_valid"].value == 1.0


def test_text_answers_match_exactly_or_normalized(write_own, lm, monkeypatch, tmp_path) -> None:
    own = write_own([("a", "Yes."), ("b", "No")], "text", constant_answers=("yes",))
    answer_with(lm, monkeypatch, [" Yes.\n", "no!"])

    result = score_own(lm, own, tmp_path / "eval")

    assert result.metrics["own/exact_match"].value == 0.5
    assert result.metrics["own/normalized_match"].value == 1.0
    assert result.constant["own/exact_match"].value == 0.0
    assert result.constant["own/normalized_match"].value == 0.5


def test_the_most_likely_label_counts_whatever_is_generated(write_own, lm, monkeypatch, tmp_path) -> None:
    own = write_own([("a", "up"), ("b", "down"), ("c", "up")], "label", labels=("up", "down"), constant_answers=("up",))
    rate = {"up<|im_end|>\n": -1.0, "down<|im_end|>\n": -2.0}
    monkeypatch.setattr(
        lm, "loglikelihood", lambda requests: [(rate[request.args[1]], False) for request in requests], raising=True
    )
    answer_with(lm, monkeypatch, ["up", "down", "sideways"])

    result = score_own(lm, own, tmp_path / "eval")

    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values["own/accuracy"] == pytest.approx(2 / 3)
    assert values["own/macro_f1"] == pytest.approx((4 / 5 + 0) / 2)
    assert values["own/tied"] == 0.0
    assert values["own/exact_match"] == pytest.approx(2 / 3)
    assert values["own/no_answer"] == pytest.approx(1 / 3)
    assert result.constant["own/accuracy"].value == pytest.approx(2 / 3)


def test_labels_are_ranked_without_generating(write_own, lm, tmp_path) -> None:
    own = write_own([("a", "up"), ("b", "down")], "label", labels=("up", "down"), constant_answers=("up",))

    result = score_own(lm, own, tmp_path / "eval", LOSS_ONLY)

    names = {"loss", "bits_per_byte", "accuracy", "macro_f1", "no_answer", "tied"}
    assert set(result.metrics) == {f"own/{name}" for name in names}
    assert {item.answer for item in read_items(tmp_path / "eval")} <= {"up", "down"}
    assert set(result.constant) == {"own/accuracy", "own/macro_f1"}


def test_too_many_labels_to_rank_are_answered_by_generating(write_own, lm, monkeypatch, tmp_path) -> None:
    labels = tuple(f"label {number}" for number in range(65))
    own = write_own([("a", "label 1"), ("b", "label 2")], "label", labels=labels)
    answer_with(lm, monkeypatch, ["label 1", "Label 2!"])

    metrics = score_own(lm, own, tmp_path / "eval").metrics

    assert metrics["own/accuracy"].value == 1.0
    assert metrics["own/exact_match"].value == 0.5
    assert "own/tied" not in metrics


def test_plain_text_has_a_loss_and_nothing_else(lm, tmp_path) -> None:
    row = {"row": 1, "prompt": "", "completion": "Once upon a time.", "answer": ""}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")

    result = score_own(lm, OwnDataSpec(rows=tmp_path / "rows.jsonl", answer="none"), tmp_path / "eval")

    assert set(result.metrics) == {"own/loss", "own/bits_per_byte"}
    assert result.metrics["own/loss"].stderr is None
    assert read_items(tmp_path / "eval")[0].weights["loss"] == len("Once upon a time.")


def test_generated_answers_are_greedy_and_end_at_a_stop_string(write_own, lm, tmp_path) -> None:
    own = write_own(PAIRS, "text", max_new_tokens=12)
    score_own(lm, own, tmp_path / "whole")
    whole = read_items(tmp_path / "whole")[0].answer
    assert len(whole) > 4

    score_own(lm, own.model_copy(update={"stop": (whole[3],)}), tmp_path / "stopped")

    assert read_items(tmp_path / "stopped")[0].answer == whole[: whole.index(whole[3])]


def test_scoring_twice_gives_the_same_numbers_and_answers(write_own, lm, tmp_path) -> None:
    own = write_own(PAIRS, "json", constant_answers=("{}",))
    first, second = (score_own(lm, own, tmp_path / name) for name in ("one", "two"))

    assert first.metrics == second.metrics
    assert first.constant == second.constant
    assert read_items(tmp_path / "one") == read_items(tmp_path / "two")


def test_files_are_lm_evals_own_and_replaced_whole(write_own, lm, tmp_path) -> None:
    own = write_own(PAIRS, "json")
    score_own(lm, own, tmp_path / "eval")
    result = score_own(lm, own, tmp_path / "eval")

    names = sorted(path.name for path in (tmp_path / "eval").iterdir())
    assert len(names) == 2
    assert names[0].startswith("results_")
    assert names[1] == result.samples["own"]
    saved = json.loads((tmp_path / "eval" / names[0]).read_text())
    assert saved["results"]["own"]["loss,none"] == result.metrics["own/loss"].value
    assert saved["config"]["batch_size"] == 2
    assert len((tmp_path / "eval" / names[1]).read_text().splitlines()) == 3
    assert not list(tmp_path.glob(".eval-*"))
    assert result.task_versions == {"own": "1"}
    assert result.seconds["own"] > 0


def test_per_item_scores_add_up_to_the_metric(write_own, lm, tmp_path) -> None:
    metrics = score_own(lm, write_own(PAIRS, "json"), tmp_path / "eval").metrics
    items = read_items(tmp_path / "eval")

    assert [(item.row, item.group, item.target) for item in items] == [
        (1, "g1", PAIRS[0][1]),
        (2, "g0", PAIRS[1][1]),
        (3, "g1", PAIRS[2][1]),
    ]
    total = sum(item.scores["loss"] * item.weights["loss"] for item in items)
    assert total / sum(item.weights["loss"] for item in items) == pytest.approx(metrics["own/loss"].value)
    assert sum(item.scores["field_match"] for item in items) / 3 == metrics["own/field_match"].value


def test_a_limit_takes_the_first_rows(write_own, lm, tmp_path) -> None:
    result = score_own(lm, write_own(PAIRS, "json"), tmp_path / "eval", TaskSpec(task="own", limit=2))

    assert result.metrics["own/loss"].n == 2
    assert [item.row for item in read_items(tmp_path / "eval")] == [1, 2]


def test_the_template_is_not_applied_to_rows_that_are_rendered_already(write_own, lm, tmp_path) -> None:
    own = write_own(PAIRS, "json")
    plain = score_own(lm, own, tmp_path / "plain")
    asked = score_own(lm, own, tmp_path / "asked", TaskSpec(task="own", apply_chat_template=True))

    assert plain.metrics == asked.metrics


def test_nothing_is_printed_and_progress_is_told(write_own, lm, tmp_path, capfd) -> None:
    heard: list[tuple[int, int]] = []
    own = write_own(PAIRS, "json")

    score(
        lm,
        [OWN],
        SCORING,
        own=own,
        output=tmp_path / "eval",
        on_progress=lambda done, total: heard.append((done, total)),
    )

    assert heard == [(1, 3), (2, 3), (3, 3)] * 2
    assert capfd.readouterr() == ("", "")


def test_a_metric_that_is_not_a_number_is_left_out(write_own, lm, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(lm, "loglikelihood", lambda requests: [(math.nan, False) for _ in requests], raising=True)
    own = write_own([("a", "up")], "label", labels=("up", "down"))

    metrics = score_own(lm, own, tmp_path / "eval", LOSS_ONLY).metrics

    assert "own/loss" not in metrics
    assert metrics["own/accuracy"].value == 0.0
    assert metrics["own/no_answer"].value == 1.0


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (TaskSpec(task="own", num_fewshot=2), "num_fewshot is 2"),
        (TaskSpec(task="own"), "max_new_tokens is 2000, but this model takes 1024"),
    ],
)
def test_what_cannot_be_asked_of_own_rows_is_refused(write_own, lm, tmp_path, task, complaint) -> None:
    own = write_own(PAIRS, "json", max_new_tokens=2000)

    with pytest.raises(TaskError, match=complaint):
        score_own(lm, own, tmp_path / "eval", task)


def test_own_rows_that_are_missing_empty_or_broken_are_refused(lm, tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    own = OwnDataSpec(rows=path, answer="text")

    with pytest.raises(TaskError, match="no data of the user's"):
        score(lm, [OWN], SCORING, own=None, output=tmp_path / "eval")
    with pytest.raises(TaskError, match="no such file"):
        score_own(lm, own, tmp_path / "eval")
    path.write_text("")
    with pytest.raises(TaskError, match="no held-out rows"):
        score_own(lm, own, tmp_path / "eval")
    path.write_text('{"row": 1}\n')
    with pytest.raises(TaskError, match=r"rows\.jsonl:1: not a row"):
        score_own(lm, own, tmp_path / "eval")


def test_a_completion_longer_than_the_model_takes_is_refused_and_leaves_the_old_files(write_own, lm, tmp_path) -> None:
    score_own(lm, write_own(PAIRS, "json"), tmp_path / "eval")
    before = sorted((tmp_path / "eval").iterdir())

    with pytest.raises(TaskError, match="cannot be scored"):
        score_own(lm, write_own([("a", "x" * 2000)], "text"), tmp_path / "eval", LOSS_ONLY)

    assert sorted((tmp_path / "eval").iterdir()) == before
    assert not list(tmp_path.glob(".eval-*"))


def test_one_task_is_asked_once_and_batches_are_those_of_the_model(write_own, lm, tmp_path) -> None:
    own = write_own(PAIRS, "json")

    with pytest.raises(TaskError, match="asked already"):
        score(lm, [OWN, LOSS_ONLY], SCORING, own=own, output=tmp_path / "eval")
    with pytest.raises(TaskError, match="none given"):
        score(lm, [], SCORING, own=own, output=tmp_path / "eval")
    with pytest.raises(RunError, match="batches of 2, but 4"):
        score(lm, [OWN], ScoringSpec(batch_size=4), own=own, output=tmp_path / "eval")
