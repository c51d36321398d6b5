"""What is to be known of a process that is about to be killed, or should have ended."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that nobody has asked about since it ended does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def hears(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    # Linux alone says, and there is no other machine that this runs on.
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)[1], 16)  # type: ignore[index]
    return bool(caught >> (number - 1) & 1)


def is_kind(process: psutil.Process, kind: str) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return kind in " ".join(process.cmdline())
    return False


def name_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())[-120:]
    return "gone by now"


def marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("KILLED_STUDY") == mark and is_alive(process):
                yield process
