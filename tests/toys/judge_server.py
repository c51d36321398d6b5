"""A judge at an address of its own, over real HTTP, that answers as it is told to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """Serve a judge on loopback."""
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
