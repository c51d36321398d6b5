"""Judging by another model, over real HTTP: both orders, ties, failures that are counted, and what is recorded."""

import contextlib
import json
import os
import re
import socket
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import RunError, TaskError
from evals.harness import score
from evals.items import read_items
from evals.judge.client import Judge
from evals.models.scored import load_lm
from evals.result import EvalResult
from evals.spec import JudgeSpec, ModelSpec, OwnDataSpec, ScoringSpec, TaskSpec

PAIRS = [("Where?", "Rome"), ("And then?", "Lisbon"), ("Who?", "Ada")]
KEY = "JUDGE_KEY_OF_THE_TESTS"
SECRET = "sk-never-written"  # noqa: S105

Reply = str | int | bytes | float
"""What the server answers: a text, an HTTP error, raw bytes, or a number of seconds to wait before a tie."""
Answer = Callable[[str, int], Reply]


class JudgeServer:
    """A judge at an address of its own, that answers as it is told to."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _prompt, _attempt: "A tie. [[C]]"
        self.requests: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.base_url = ""

    def reply(self, body: dict[str, object], key: str | None) -> Reply:
        prompt = str(body["messages"][0]["content"])  # type: ignore[index]
        attempt = sum(before["messages"] == body["messages"] for before in self.requests) + 1
        self.requests.append(body)
        self.keys.append(key)
        return self.answer(prompt, attempt)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    judge = JudgeServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = judge.reply(body, self.headers.get("Authorization"))
            if isinstance(reply, float):
                time.sleep(reply)
                reply = "[[C]]"
            status = reply if isinstance(reply, int) else 200
            text = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
            data = reply if isinstance(reply, bytes) else b"{}" if isinstance(reply, int) else json.dumps(text).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # the client has stopped waiting

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    judge.base_url = f"http://127.0.0.1:{http.server_port}/v1"
    yield judge
    http.shutdown()
    http.server_close()
    thread.join()


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


def test_the_key_goes_nowhere_but_to_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

    class Sending(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{elsewhere.server_port}/")
            self.end_headers()

    elsewhere, sending = (ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Elsewhere, Sending))
    for http in (elsewhere, sending):
        threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setenv(KEY, SECRET)
    spec = JudgeSpec(base_url=f"http://127.0.0.1:{sending.server_port}/v1", model="m", api_key_env=KEY)
    try:
        with pytest.raises(RunError, match="HTTP 302"):
            Judge(spec).ask("Which?", re.compile("x"))
    finally:
        for http in (elsewhere, sending):
            http.shutdown()
            http.server_close()
    assert asked == []


@pytest.mark.parametrize(
    "address",
    [
        "http://me:pw@host/v1",
        "https://host/v1?api_key=1",
        "file:///etc/passwd",
        "http://",
        "http://host/a b",
        "ftp://host",
    ],
)
def test_an_address_holds_no_secret_and_is_one(address: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        JudgeSpec(base_url=address, model="m")


def test_a_reply_is_bounded(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.judge.client.MAX_REPLY_BYTES", 1000)
    server.answer = lambda _prompt, _attempt: "x" * 2000

    found = Judge(JudgeSpec(base_url=server.base_url, model="m", attempts=1)).ask("Which?", re.compile("x"))

    assert found.error is not None
    assert "a reply of more than" in found.error


def test_a_key_with_a_line_break_behind_it_is_used_without(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, f"{SECRET}\n")
    spec = JudgeSpec(base_url=server.base_url, model="toy-judge", api_key_env=KEY, attempts=1)

    verdict = Judge(spec).ask("Which?", re.compile(r"\[\[C\]\]"))

    assert server.keys == [f"Bearer {SECRET}"]
    assert verdict.error is None


@pytest.mark.parametrize("key", [f"{SECRET}\nX-Other: 1", f"{SECRET}\0", f"{SECRET}é"])
def test_what_no_key_can_be_is_refused_before_a_library_repeats_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {KEY: key})
    spec = JudgeSpec(base_url="http://127.0.0.1:9/v1", model="toy-judge", api_key_env=KEY, attempts=1)

    with pytest.raises(TaskError, match="no key has") as refused:
        Judge(spec)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("reply", [f"I was asked with {SECRET}. [[C]]", f"No verdict, {SECRET}.", SECRET.encode()])
def test_a_key_that_the_endpoint_repeats_is_not_recorded(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    monkeypatch.setenv(KEY, SECRET)
    server.answer = lambda *_: json.dumps({"error": SECRET}).encode() if isinstance(reply, bytes) else reply
    spec = JudgeSpec(base_url=server.base_url, model="toy-judge", api_key_env=KEY, attempts=1)

    verdict = Judge(spec).ask("Which?", re.compile(r"\[\[C\]\]"))

    assert "***" in str(verdict.recorded())
    assert SECRET not in str(verdict.recorded())


def test_a_reply_that_comes_byte_by_byte_is_not_waited_for() -> None:
    def drip(listening: socket.socket) -> None:
        caller, _ = listening.accept()
        with caller, contextlib.suppress(OSError):
            caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                caller.sendall(b" ")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        judge = Judge(JudgeSpec(base_url=address, model="toy-judge", timeout_seconds=0.5, attempts=1))
        began = time.monotonic()
        verdict = judge.ask("Which?", re.compile(r"\[\[C\]\]"))

    assert time.monotonic() - began < 5
    assert verdict.error == "TimeoutError: no whole reply within 0.5 seconds"


def test_a_pause_that_is_no_number_is_none(server: JudgeServer) -> None:
    error = urllib.error.HTTPError(server.base_url, 503, "busy", Message(), None)
    error.headers["Retry-After"] = "²"

    assert str(Judge(JudgeSpec(base_url=server.base_url, model="m"))._http_failure(error)) == "HTTP 503"
