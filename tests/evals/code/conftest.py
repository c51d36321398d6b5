"""A sandbox that holds on this machine, or a reason to skip."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evals.code.sandbox import Sandbox
from evals.code.selftest import choose_sandbox
from evals.errors import TaskError


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    try:
        return choose_sandbox()
    except TaskError as error:
        pytest.skip(f"no sandbox here: {error}")


# Starting and ending the boxes on a busy machine included.
BOUND_SECONDS = 20.0


def processes_in_boxes(keeper: int) -> set[int]:
    """Processes in a process namespace below ours whose command line names the keeper, as those of its boxes do."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            lines = (directory / "status").read_text().splitlines()
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        nested = any(line.startswith("NSpid:") and len(line.split()) > 2 for line in lines)
        if nested and str(keeper).encode() in words:
            found.add(int(directory.name))
    return found


@pytest.fixture
def boxed() -> Callable[[int], set[int]]:
    return processes_in_boxes


@pytest.fixture
def nobody_left() -> Iterator[None]:
    """The test is bounded in time, and nobody in a box lives on."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < BOUND_SECONDS
    assert not processes_in_boxes(os.getpid())
