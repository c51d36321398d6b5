"""Asks whatever is being trained in this process to save its state and end.

A signal handler or another thread asks; a training that can be continued listens, looks between its micro-batches
whether it was asked, and raises KeyboardInterrupt once its state is saved.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """One process's request to stop, which is never taken back."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._listeners = 0

    def ask(self) -> bool:
        """Ask. Gives whether somebody will hear; else nothing is worth waiting for."""
        self._asked.set()
        return self._listeners > 0

    @property
    def is_asked(self) -> bool:
        """Whether to save and end."""
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the block runs, what was asked for will be heard soon."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
