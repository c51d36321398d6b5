"""Servers for tests, on loopback: MLflow's own as a person starts it, and one that answers wrong or never."""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_ui(directory: Path, port: int | None = None, store: str | None = None) -> Iterator[str]:
    """`mlflow ui` as a person starts it beside the runs, or over a store of its own, by its address."""
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    quiet = subprocess.DEVNULL
    # Without the processes for jobs that no test asks for.
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    settings |= {"MLFLOW_BACKEND_STORE_URI": store} if store else {}
    server = subprocess.Popen(command, cwd=directory, stdout=quiet, stderr=quiet, env=settings, start_new_session=True)
    try:
        wait_for(f"{address}/health")
        yield address
    finally:
        server.terminate()
        server.wait(30)


@dataclass
class Broken:
    """What a broken server saw and said."""

    address: str = ""
    answered: list[int] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)


@contextmanager
def broken_server(*statuses: int) -> Iterator[Broken]:
    """A server that answers every request with one of these statuses in turn, or, without any, never."""
    released = threading.Event()
    broken = Broken()
    turns = itertools.cycle(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not statuses:
                released.wait()
                return
            broken.credentials.append(self.headers["Authorization"])
            broken.answered.append(next(turns))
            self.send_response(broken.answered[-1])
            self.end_headers()

        do_POST = do_GET  # noqa: N815  (http.server's name)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    broken.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield broken
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            read(address)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def read(address: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310  (loopback)
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  (loopback)
        return bytes(answer.read())


def get(address: str) -> Any:
    return json.loads(read(address))


def post(address: str, body: object) -> Any:
    return json.loads(read(address, json.dumps(body).encode()))
