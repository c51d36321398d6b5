"""What passes between a judge's client and its endpoint: the key goes nowhere else, and a reply has an end."""

import contextlib
import json
import os
import re
import socket
import threading
import time
import urllib.error
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from judge_server import KEY, SECRET, JudgeServer, Reply

from evals.errors import RunError, TaskError
from evals.judge.client import Judge
from evals.spec import JudgeSpec


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
