"""How a study ends: tracking is told, and SIGTERM means what Ctrl-C means."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sweep.study.dispatch import TrialTracker


@contextmanager
def tracked(tracker: TrialTracker | None) -> Iterator[None]:
    """Open and close tracking; how the study ended is logged with it."""
    if tracker is None:
        yield
        return
    tracker.start()
    try:
        yield
    except KeyboardInterrupt:
        tracker.finish("KILLED")
        raise
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a study as Ctrl-C does. Only a main thread can; elsewhere the signal keeps its meaning."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
