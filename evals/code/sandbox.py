"""The seam between grading programs and the walls around them.

A sandbox gives boxes: fresh interpreters that can compute and do nothing else. What runs in a box is hostile, so a box
is held by its pipes alone, every wait has a deadline, and closing one means that all in it are dead.
"""

import json
import time
from dataclasses import dataclass
from typing import Protocol

from evals.code.box import Box, BoxEnded
from evals.code.inside import wire
from evals.code.limits import Limits


class Sandbox(Protocol):
    """Whatever can start a box."""

    def start(self, limits: Limits) -> Box:
        """Start a confined interpreter, which raises its walls while the caller goes on.

        Raises TaskError, here or when one waits for the box to be ready, where it cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program, as far as one can believe a hostile one."""

    finished: bool
    """It says that it ran to its end. A hostile program can say so at any time: this is no verdict."""
    reason: str
    """Why it did not."""
    output: bytes
    """What it printed, to its limit."""
    seconds: float
    """Wall time, start of the interpreter not counted."""


def run(sandbox: Sandbox, program: str, *, limits: Limits) -> Outcome:
    """Run a program on its own until it ends or reaches a limit. Nobody in its box is alive afterwards."""
    with sandbox.start(limits) as box:
        box.wait_until_ready()
        started = time.monotonic()
        deadline = started + limits.wall_seconds
        try:
            box.send(wire.PROGRAM, describe(source=program), deadline)
            kind, payload = box.receive(deadline)
            finished, reason = kind == wire.DONE, read_reason(payload)
            box.drain(deadline)
        except BoxEnded as ended:
            finished, reason = False, str(ended)
        seconds = time.monotonic() - started
    return Outcome(finished=finished, reason="" if finished else reason, output=box.output, seconds=seconds)


def describe(**task: object) -> bytes:
    """What a box is told to do."""
    return json.dumps(task).encode("ascii")


def read_reason(payload: bytes) -> str:
    """The exception that a box told of, in one line of text: for people, never for a decision."""
    try:
        name, message = json.loads(payload)
    except (ValueError, TypeError, RecursionError):
        return "the program ended"
    return ": ".join(str(part)[:500] for part in (name, message) if part)
