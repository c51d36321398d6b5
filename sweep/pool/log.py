"""A worker's log: all that the process and its libraries print, less the secrets of the environment.

The worker prints into a pipe, and the driver writes the file: what a worker said before it died is in the pipe even
where nothing in its process could write it down any more.
"""

import contextlib
import fcntl
import os
import re
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from sweep.secrets import begun_secret, hide_secrets

PIPE_BYTES = 1 << 20
"""What a worker can print while its driver is suspended; a system may allow less."""
LONGEST_LINE = 1 << 16
"""Bytes; what is longer is written in pieces."""
ENDS = re.compile(rb"[\r\n]")
"""A progress bar ends its lines by going back to their beginnings."""


class WorkerLog:
    """Writes down what comes out of a pipe until nobody holds its other end."""

    def __init__(self, path: Path, output: Connection) -> None:
        self.path = path
        self._output = output
        self._rest = b""
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(output.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o644)
        self._thread = threading.Thread(target=self._keep, name=path.name, daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for what is still in the pipe; a child that the worker left behind may hold it open for ever."""
        self._thread.join(seconds)

    def _keep(self) -> None:
        with self._output:
            while printed := os.read(self._output.fileno(), LONGEST_LINE):
                self._rest += printed
                ends = [found.end() for found in ENDS.finditer(self._rest)]
                cut = ends[-1] if ends else len(self._rest) if len(self._rest) > LONGEST_LINE else 0
                text = _text(self._rest[:cut])
                # A secret of several lines, or where a long line is cut, is only known once the whole of it is here.
                whole = text[: len(text) - begun_secret(text, os.environ)]
                self._write(whole)
                self._rest = self._rest[len(_bytes(whole)) :]
        self._write(_text(self._rest))

    def _write(self, printed: str) -> None:
        if not printed:
            return
        # A disk that is full ends the study elsewhere; a pipe that nobody empties would hang its worker.
        with contextlib.suppress(OSError), self.path.open("ab") as stream:
            stream.write(_bytes(hide_secrets(printed, os.environ)))


def _text(printed: bytes) -> str:
    return printed.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
