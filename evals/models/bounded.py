"""Run somebody else's program for a moment, with an end: in a copy of this process, bounded in time and memory.

A chat template is a program of the model's author. Its sandbox keeps it from files and from Python's insides, and lets
it count to a billion or double a text forty times. No rule within the language stops all of that, so the operating
system does: what runs too long is killed, and what wants too much memory is refused it.
"""

import json
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any

SECONDS = 60.0
MEMORY_BYTES = 2**30
"""Beyond what this process has already."""
MAX_ANSWER_BYTES = 2**30
_CHUNK = 1 << 20


class BoundsError(Exception):
    """It ran too long, wanted too much memory, or ended without an answer; the message says which."""


def bounded(work: Callable[[], Any], *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> Any:  # noqa: ANN401 - as json
    """What `work` gives, as JSON carries it. It must keep to plain Python: the copy has none of the other threads.

    Raises BoundsError.
    """
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        # The copy touches neither threads nor devices, which is what Python warns about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(receiving)
        _answer(work, sending, seconds, memory_bytes)
    os.close(sending)
    try:
        answer = _receive(receiving, time.monotonic() + seconds)
    except TimeoutError as error:
        raise BoundsError(f"it did not end within {seconds:g} seconds") from error
    finally:
        os.close(receiving)
        # It may have ended by itself; it is not reaped yet, so its number is still its own.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    try:
        return json.loads(answer)
    except ValueError as error:
        raise BoundsError(f"it wanted more than {memory_bytes // 2**20} MiB of memory, or broke down") from error


def _answer(work: Callable[[], Any], sending: int, seconds: float, memory_bytes: int) -> None:
    """In the copy: do the work, send what it gives, and end without anything that an ending process does."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - as little as possible runs here
            size = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + memory_bytes, size + memory_bytes))
        # Whoever waits for it may be killed meanwhile: then it ends by itself.
        used = int(time.process_time() + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (used, used))
        rest = memoryview(json.dumps(work()).encode())
        while rest:
            rest = rest[os.write(sending, rest) :]
    finally:
        os._exit(0)


def _receive(receiving: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    total = 0
    poll = select.poll()
    poll.register(receiving, select.POLLIN)
    while poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
        part = os.read(receiving, _CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
        total += len(part)
        if total > MAX_ANSWER_BYTES:
            return b""
    raise TimeoutError
