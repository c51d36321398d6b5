"""Judging by another model, over real HTTP: both orders, ties, failures that are counted, and what is recorded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from judge_server import KEY, SECRET, JudgeServer, Reply
from lm_eval.models.huggingface import HFLM

from evals.errors import RunError, TaskError
from evals.harness import score
from evals.items import read_items
from evals.models.scored import load_lm
from evals.result import EvalResult
from evals.spec import JudgeSpec, ModelSpec, OwnDataSpec, ScoringSpec, TaskSpec

PAIRS = [("Where?", "Rome"), ("And then?", "Lisbon"), ("Who?", "Ada")]


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=2)


@pytest.fixture
def own(write_own: Callable[..., OwnDataSpec], lm: HFLM, monkeypatch: pytest.MonkeyPatch) -> OwnDataSpec:
    answers = ["CANDIDATE one", "CANDIDATE two", "CANDIDATE three"]
    monkeypatch.setattr(lm, "generate_until", lambda requests: answers[: len(requests)])
    return write_own(PAIRS, "text")


def judged(
    lm: HFLM, own: OwnDataSpec, output: Path, server: JudgeServer, task: str = "judge_pairs", **settings: object
) -> EvalResult:
    judge = JudgeSpec.model_validate(
        {"base_url": server.base_url, "model": "toy-judge", "pause_seconds": 0.01, "attempts": 3, **settings}
    )
    return score(lm, [TaskSpec(task=task)], ScoringSpec(batch_size=2, judge=judge), own=own, output=output)


def samples(result: EvalResult, output: Path, task: str = "judge_pairs") -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / result.samples[task]).read_text("utf-8").splitlines()]


def candidate_is_first(prompt: str) -> bool:
    return prompt.index("CANDIDATE") < prompt.index("assistant B]")


def test_an_answer_wins_where_both_orders_say_so(lm, own, server, tmp_path) -> None:
    def answer(prompt: str, _: int) -> str:
        if "CANDIDATE one" in prompt:
            return "Better. [[A]]" if candidate_is_first(prompt) else "Better. [[B]]"
        if "CANDIDATE two" in prompt:
            return "Worse than [[A]]? Yes: [[B]]" if candidate_is_first(prompt) else "[[A]]"
        return "The first is always better. [[A]]"

    server.answer = answer
    result = judged(lm, own, tmp_path / "eval", server)

    assert set(result.metrics) == {"judge_pairs/win_rate", "judge_pairs/judge_error"}
    assert [sample["win_rate"] for sample in samples(result, tmp_path / "eval")] == [1.0, 0.0, 0.5]
    assert result.metrics["judge_pairs/win_rate"].value == 0.5
    assert result.metrics["judge_pairs/win_rate"].n == 3
    assert result.metrics["judge_pairs/win_rate"].stderr == pytest.approx(0.5 / 3**0.5)
    assert result.metrics["judge_pairs/judge_error"].value == 0.0
    assert result.constant == {}


def test_the_judge_is_asked_at_temperature_zero_with_both_answers_and_the_request(lm, own, server, tmp_path) -> None:
    judged(lm, own, tmp_path / "eval", server)

    assert len(server.requests) == 6
    for body in server.requests:
        assert (body["model"], body["temperature"]) == ("toy-judge", 0)
    prompts = [str(body["messages"][0]["content"]) for body in server.requests]
    rome = [prompt for prompt in prompts if "CANDIDATE one" in prompt]
    assert len(rome) == 2
    assert all("Where?" in prompt and "Rome" in prompt for prompt in rome)
    assert [candidate_is_first(prompt) for prompt in rome] in ([True, False], [False, True])


def test_name_prompts_and_raw_replies_are_recorded_and_the_key_nowhere(
    lm, own, server, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, SECRET)

    result = judged(lm, own, tmp_path / "eval", server, api_key_env=KEY)

    assert set(server.keys) == {f"Bearer {SECRET}"}
    record = samples(result, tmp_path / "eval")[0]["judge"]
    assert record["model"] == "toy-judge"
    assert [verdict["reply"] for verdict in record["verdicts"]] == ["A tie. [[C]]"] * 2
    assert record["verdicts"][0]["prompt"] in [body["messages"][0]["content"] for body in server.requests]
    assert all(SECRET not in path.read_text("utf-8") for path in (tmp_path / "eval").iterdir())
    assert read_items(tmp_path / "eval")[0].row == 1


def test_scores_go_from_one_to_ten(lm, own, server, tmp_path) -> None:
    server.answer = lambda prompt, _: "Fine: [[10]]" if "CANDIDATE one" in prompt else "Poor: [[3]]"

    result = judged(lm, own, tmp_path / "eval", server, "judge_score")

    assert result.metrics["judge_score/score"].value == pytest.approx(16 / 3)
    assert len(server.requests) == 3


@pytest.mark.parametrize("failure", [503, 429, b"not JSON", b'{"choices": []}', "no verdict", 1.5])
def test_what_passes_by_itself_is_tried_again(lm, own, server, tmp_path, failure: Reply) -> None:
    server.answer = lambda _, attempt: failure if attempt == 1 else "[[C]]"

    result = judged(lm, own, tmp_path / "eval", server, timeout_seconds=0.5)

    assert result.metrics["judge_pairs/win_rate"].value == 0.5
    assert result.metrics["judge_pairs/judge_error"].value == 0.0
    verdicts = samples(result, tmp_path / "eval")[0]["judge"]["verdicts"]
    assert [verdict["attempts"] for verdict in verdicts] == [2, 2]


def test_a_judge_that_keeps_failing_is_counted_and_not_taken_for_a_bad_score(lm, own, server, tmp_path) -> None:
    server.answer = lambda prompt, _: (
        "I cannot say." if "CANDIDATE two" in prompt else "[[A]]" if candidate_is_first(prompt) else "[[B]]"
    )

    result = judged(lm, own, tmp_path / "eval", server)

    rate, errors = result.metrics["judge_pairs/win_rate"], result.metrics["judge_pairs/judge_error"]
    assert (rate.value, rate.n) == (1.0, 2)
    assert (errors.value, errors.n, errors.higher_is_better) == (pytest.approx(1 / 3), 3, False)
    failed = samples(result, tmp_path / "eval")[1]
    assert failed["win_rate"] is None
    assert failed["judge"]["verdicts"][0]["reply"] == "I cannot say."
    assert failed["judge"]["verdicts"][0]["error"] == "no verdict in the reply"
    assert failed["judge"]["verdicts"][0]["attempts"] == 3
    assert "win_rate" not in read_items(tmp_path / "eval")[1].scores


def test_a_judge_that_always_fails_gives_no_score_at_all(lm, own, server, tmp_path) -> None:
    server.answer = lambda _prompt, _attempt: 500

    result = judged(lm, own, tmp_path / "eval", server)

    assert set(result.metrics) == {"judge_pairs/judge_error"}
    assert result.metrics["judge_pairs/judge_error"].value == 1.0


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_does_not_pass_by_itself_ends_scoring_at_once(lm, own, server, tmp_path, status: int) -> None:
    server.answer = lambda _prompt, _attempt: status

    with pytest.raises(RunError, match=rf"judge 'toy-judge' at .*: HTTP {status} .*Check the address"):
        judged(lm, own, tmp_path / "eval", server, parallel=1)
    assert not (tmp_path / "eval").exists()


def test_opponents_may_be_another_models_answers(lm, own, server, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm, "generate_until", lambda requests: ["OPPONENT"] * len(requests))
    judged(lm, own, tmp_path / "baseline", server)
    monkeypatch.setattr(lm, "generate_until", lambda requests: ["CANDIDATE"] * len(requests))
    server.requests.clear()

    judged(lm, own, tmp_path / "eval", server, against=tmp_path / "baseline")

    prompts = [str(body["messages"][0]["content"]) for body in server.requests]
    assert all("OPPONENT" in prompt and "Rome" not in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "environment variable NOT_SET_ANYWHERE is not set"),
        ({"against": Path("nowhere")}, "holds no answers"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_before_the_model_writes(  # noqa: PLR0917
    lm, own, server, tmp_path, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(TaskError, match=complaint):
        judged(lm, own, tmp_path / "eval", server, **settings)
    with pytest.raises(TaskError, match="judge_score: no judge is named"):
        score(lm, [TaskSpec(task="judge_score")], ScoringSpec(batch_size=2), own=own, output=tmp_path / "eval")
    assert server.requests == []
