"""How a process that trains is brought to an end: what is being trained is asked to save its state first.

A signal handler or another thread asks; a training that can be continued listens, looks between its micro-batches
whether it was asked, and raises KeyboardInterrupt once its state is saved. Where nobody listens, the end is at once.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType

SAVE_AND_END = b"save and end"
"""What a driver sends through the pipe whose closing ends its worker at once."""


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


class Ending:
    """The end of a worker process: by SIGTERM, on its driver's word, or with its driver."""

    def __init__(self) -> None:
        self._stop: Callable[[], bool] = lambda: False
        self._asked = threading.Event()
        self._number: int | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the process is to end, once what is being trained has been saved."""
        return self._asked.is_set()

    def heed(self, stop: Callable[[], bool]) -> None:
        """From now on `stop` asks whatever is being trained to stop, and says whether that has a state to wait for."""
        self._stop = stop

    def by_signal(self, number: int, _frame: FrameType | None) -> None:
        """A signal handler."""
        self._number = number
        self._asked.set()
        if not self._stop():
            self.now()

    def with_driver(self, lifeline: Connection) -> None:
        """A thread: end when the driver says so, and at once when it is gone or tired of waiting."""
        with contextlib.suppress(EOFError, OSError):
            lifeline.recv_bytes()
            self._asked.set()
            if self._stop():
                lifeline.recv_bytes()
        self._number = None
        self.now()

    def now(self) -> None:
        """End without cleaning up: a trial without a record is gone on with, or run again."""
        if self._number is not None:
            # The driver reads from this how the worker ended.
            signal.signal(self._number, signal.SIG_DFL)
            os.kill(os.getpid(), self._number)
        os._exit(0)
