"""A wire between a client and a database server that breaks after a COMMIT was done and before anybody hears of it.

It is the one loss that cannot be told from one before the COMMIT by whoever waits for the answer.
"""

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

# PyMySQL begins every connection with SET AUTOCOMMIT.
COMMIT = re.compile(rb"(?<!AUTO)COMMIT")


@dataclass
class Cutter:
    """Listens on loopback and passes everything on; the answer to every n-th COMMIT is lost, and the connection."""

    server: tuple[str, int]
    every: int = 0
    """0 for never."""
    commits: int = 0
    cuts: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.server) as server:
            is_cut = threading.Event()
            answers = threading.Thread(target=self._answer, args=(server, client, is_cut), daemon=True)
            answers.start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    if COMMIT.search(data) and self._is_due():
                        is_cut.set()
                    server.sendall(data)
            _end(server)
            answers.join()

    def _answer(self, server: socket.socket, client: socket.socket, is_cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if is_cut.is_set():
                    self.cuts += 1
                    break
                client.sendall(data)
        _end(client)

    def _is_due(self) -> bool:
        self.commits += 1
        return self.every > 0 and self.commits % self.every == 0


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
