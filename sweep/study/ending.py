"""How a study ends: tracking is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from sweep.study.seams import TrialTracker


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
