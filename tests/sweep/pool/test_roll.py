"""A cluster's head is asked by a thread: one that never answers holds nobody up, and is taken for gone in time."""

import threading
import time
from collections.abc import Iterator

import pytest

from sweep.errors import ClusterLostError
from sweep.pool.nodes import Node
from sweep.pool.roll import Roll

ONE, OTHER = (Node(name, f"10.0.0.{name}", 1, 0) for name in "12")


class Head:
    """Answers while it is there, and raises or keeps silent when it is not."""

    def __init__(self) -> None:
        self.nodes = {"1": ONE}
        self.is_there = threading.Event()
        self.is_there.set()
        self.raises = False

    def ask(self) -> dict[str, Node]:
        if self.raises:
            raise RuntimeError("no such address")
        self.is_there.wait(30)
        return dict(self.nodes)


@pytest.fixture
def head() -> Iterator[Head]:
    made = Head()
    yield made
    made.is_there.set()


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_nodes_that_join_and_leave_are_known_soon(head: Head) -> None:
    roll = Roll(head.ask)
    assert roll.nodes() == {"1": ONE}

    head.nodes = {"2": OTHER}

    until(lambda: roll.nodes() == {"2": OTHER})
    roll.end()


@pytest.mark.parametrize("raises", [False, True], ids=["silent", "an-error"])
def test_a_head_that_is_gone_is_missed_in_time_and_never_waited_for(head: Head, *, raises: bool) -> None:
    roll = Roll(head.ask, lost_seconds=3.0)
    head.raises = raises
    head.is_there.clear()
    began = time.monotonic()

    assert roll.nodes() == {"1": ONE}
    assert time.monotonic() - began < 1
    until(roll.is_lost, 15)
    with pytest.raises(ClusterLostError, match=r"has not answered for 3 s\. Everything that ended is saved; start the"):
        roll.nodes()
    head.raises = False
    head.is_there.set()
    time.sleep(1.5)
    assert roll.is_lost(), "its workers have ended by now"
    roll.end()


def test_a_process_that_was_stopped_for_a_while_asks_again_before_it_gives_up(head: Head) -> None:
    roll = Roll(head.ask, lost_seconds=1.0)
    head.is_there.clear()
    time.sleep(2.5)
    threading.Timer(0.5, head.is_there.set).start()

    assert not roll.is_lost()
    assert roll.nodes() == {"1": ONE}
    roll.end()
