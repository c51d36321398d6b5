"""What Ctrl-C, SIGTERM and the end of a terminal (SIGHUP) mean to a command: nothing is lost, and it ends soon.

While there is nothing to save, as when libraries are imported, the process ends at once: an exception that is raised in
the middle of an import is taken for a broken library by some. While a study runs, the first one saves and ends; the
second does not wait.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of what was interrupted, with everything saved."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STDERR = 2
SHOW_CURSOR = "\x1b[?25h"
"""A live display hides it."""


NO_END = threading.Event()
"""Set where a library's part of Python's own end would wait for something that is gone, or crash."""


def leave_without_the_end(code: int) -> None:
    """End the process now where Python's own end cannot be had; else do nothing."""
    if NO_END.is_set():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def leave_at_once() -> None:
    """From now on a signal ends the process: all is done."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, lambda _number, _frame: _leave("Interrupted."))


@contextmanager
def leaving_at_once(said: str = "Interrupted.") -> Iterator[None]:
    """While the block runs, a signal ends the process with one line: there is nothing to save."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        _leave(said)

    with _handled_by(leave):
        yield


@contextmanager
def saving_first() -> Iterator[None]:
    """While the block runs, the first signal raises KeyboardInterrupt, and the second ends the process at once."""
    asked = threading.Event()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGHUP:
            # A terminal that ends is told of by the kernel and by the shell: nobody has lost patience.
            return
        if asked.is_set():
            _leave("Interrupted again: ended without waiting.")
        asked.set()
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


def _leave(said: str) -> None:
    # Streams are left alone: one of them may be in the middle of a line, its lock held.
    with contextlib.suppress(OSError):
        os.write(STDERR, f"{SHOW_CURSOR if os.isatty(STDERR) else ''}\n{said}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Only a main thread can choose; elsewhere the signals keep their meaning."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell that starts a command in the background has it ignore Ctrl-C, which is meant for others, and nohup the end
    # of the terminal.
    heard = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
