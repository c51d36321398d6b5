"""Answers of each type on their way through scoring: metrics, constants, per-item files, and the noise floor."""

import hashlib
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import TaskError
from evals.harness import score
from evals.items import read_items
from evals.models.scored import load_lm
from evals.noise import noise_between
from evals.result import EvalResult, Noise
from evals.spec import GraderSpec, ModelSpec, OwnDataSpec, ScoringSpec, TaskSpec

CITY = "CREATE TABLE city (name TEXT, people INTEGER)"


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=2)


def answer_with(lm: HFLM, monkeypatch: pytest.MonkeyPatch, *runs: list[str]) -> None:
    """Let the model generate these answers, another list each time that it is scored; all else stays its own."""
    left = list(runs)
    monkeypatch.setattr(lm, "generate_until", lambda _: left.pop(0), raising=True)


def score_own(lm: HFLM, own: OwnDataSpec, output: Path, *, repeat: int = 1, generate: bool = True) -> EvalResult:
    task = TaskSpec(task="own", generate=generate)
    return score(lm, [task], ScoringSpec(batch_size=2), own=own, output=output, repeat=repeat)


def grader(folder: Path, body: str) -> GraderSpec:
    file = folder / "grader.py"
    file.write_text(f"def polite(prompt, answer, target):\n    {body}\n")
    return GraderSpec(file=file, function="polite", sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def test_labels_can_be_scored_by_what_is_written(write_own, lm, monkeypatch, tmp_path) -> None:
    pairs = [("a", "up"), ("b", "down"), ("c", "up"), ("d", "down")]
    own = write_own(pairs, "label", labels=("up", "down"), constant_answers=("up",), label_by="generation")
    answer_with(lm, monkeypatch, ["Up.", "down", "sideways", "up"])

    result = score_own(lm, own, tmp_path / "eval")

    assert result.metrics["own/accuracy"].value == 2 / 4
    # up: one of two found and one of two given right; down: one of two found.
    assert result.metrics["own/macro_f1"].value == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert result.metrics["own/macro_f1"].stderr is not None
    assert result.metrics["own/no_answer"].value == 1 / 4
    assert "own/tied" not in result.metrics
    assert result.constant["own/macro_f1"].value == pytest.approx((2 / 3 + 0) / 2)
    assert [item.scores["no_answer"] for item in read_items(tmp_path / "eval")] == [0, 0, 1, 0]


def test_sql_is_graded_by_execution_with_the_best_constant_beside_it(write_own, lm, monkeypatch, tmp_path) -> None:
    pairs = [("a", "SELECT name FROM city WHERE people > 5"), ("b", "SELECT MAX(people) FROM city"), ("c", "SELECT 1")]
    own = write_own(pairs, "sql", sql_schema=CITY, constant_answers=("SELECT max(people) FROM city WHERE 1", "no"))
    answer_with(lm, monkeypatch, ["SELECT name FROM city WHERE 5 < people;", "Nothing.", "SELECT name FROM city"])

    result = score_own(lm, own, tmp_path / "eval")

    values = {name: metric.value for name, metric in result.metrics.items()}
    # The third row's query returns the same whatever the rows are, so it judges nobody.
    assert (values["own/filled_match"], result.metrics["own/filled_match"].n) == (1 / 2, 2)
    assert values["own/unjudged"] == pytest.approx(1 / 3)
    assert values["own/sql_valid"] == pytest.approx(2 / 3)
    assert values["own/no_answer"] == pytest.approx(1 / 3)
    assert result.constant["own/filled_match"].value == 1 / 2
    assert {"own/unjudged", "own/no_answer"} & result.constant.keys() == set()


def test_a_users_grader_brings_its_metric_and_its_failures_are_told(write_own, lm, monkeypatch, tmp_path) -> None:
    own = write_own([("a", "please"), ("b", "thanks"), ("c", "sure")], "text", constant_answers=("please", "sure"))
    own = own.model_copy(update={"grader": grader(tmp_path, "return float(answer[0] == target[0])")})
    answer_with(lm, monkeypatch, ["pardon", "", "no"])

    result = score_own(lm, own, tmp_path / "eval")

    assert (result.metrics["own/polite"].value, result.metrics["own/polite"].n) == (1 / 2, 2)
    assert result.metrics["own/grader_error"].value == pytest.approx(1 / 3)
    assert not result.metrics["own/grader_error"].higher_is_better
    assert result.constant["own/polite"].value == pytest.approx(1 / 3)
    assert len(result.notices) == 1
    assert "row 2: IndexError" in result.notices[0]
    assert ["polite" in item.scores for item in read_items(tmp_path / "eval")] == [True, False, True]


def test_a_grader_judges_the_continuation_of_plain_text_too(lm, monkeypatch, tmp_path) -> None:
    row = '{"row": 1, "prompt": "Once", "completion": " upon a time.", "answer": " upon a time."}\n'
    (tmp_path / "rows.jsonl").write_text(row)
    own = OwnDataSpec(rows=tmp_path / "rows.jsonl", answer="none", grader=grader(tmp_path, "return len(answer)"))
    answer_with(lm, monkeypatch, ["four"])

    assert score_own(lm, own, tmp_path / "eval").metrics["own/polite"].value == 4


def test_a_grader_that_never_works_is_refused_before_anything_is_asked(write_own, lm, tmp_path) -> None:
    own = write_own([("a", "b")], "text").model_copy(update={"grader": grader(tmp_path, "return 1 / 0")})

    with pytest.raises(TaskError, match=r"data\.grader: polite fails even on the expected answers.*ZeroDivisionError"):
        score_own(lm, own, tmp_path / "eval")


def test_scoring_again_shows_which_items_flip(write_own, lm, monkeypatch, tmp_path) -> None:
    own = write_own([("a", "x"), ("b", "y"), ("c", "z"), ("d", "w")], "text", constant_answers=("x",))
    answer_with(lm, monkeypatch, ["x", "y", "?", "?"], ["x", "?", "z", "!"])

    result = score_own(lm, own, tmp_path / "eval", repeat=2)

    # One item was lost and one won, which the mean does not show.
    assert result.metrics["own/exact_match"].value == 2 / 4
    assert result.noise["own/exact_match"] == Noise(flipped=2 / 4, largest=1.0, n=4)
    assert result.noise["own/answer"].flipped == 3 / 4
    assert result.noise["own/loss"] == Noise(flipped=0.0, largest=0.0, n=4)
    again = tmp_path / "eval" / "repeat-2"
    assert [item.answer for item in read_items(tmp_path / "eval")] == ["x", "y", "?", "?"]
    assert [item.answer for item in read_items(again)] == ["x", "?", "z", "!"]


def test_a_model_that_repeats_itself_has_no_noise(write_own, lm, tmp_path) -> None:
    own = write_own([("a", "up"), ("b", "down")], "label", labels=("up", "down"))
    first = score_own(lm, own, tmp_path / "eval", repeat=3)

    assert {name: (noise.flipped, noise.largest) for name, noise in first.noise.items()} == dict.fromkeys(
        first.noise, (0.0, 0.0)
    )
    assert set(first.noise) > {"own/loss", "own/accuracy", "own/answer"}
    assert sorted(path.name for path in (tmp_path / "eval").iterdir() if path.is_dir()) == ["repeat-2", "repeat-3"]
    assert noise_between([tmp_path / "eval", tmp_path / "eval" / "repeat-3"]) == first.noise
    assert score_own(lm, own, tmp_path / "eval").noise == {}
    assert not (tmp_path / "eval" / "repeat-2").exists()
