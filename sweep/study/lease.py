"""One driver at a time on one run directory, and none that is kept out by a driver that is no more.

The kernel lets go of a lock when its owner ends, however that ends; where locks hold, they decide. On a file system
without locks, and between machines whose locks do not reach each other, the owner's own words in the file do: who it
is, and a heartbeat. A process is known by its number, when it began and the boot of its machine, because numbers come
again. One that has ended and was not asked about yet, a zombie, is no owner.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from sweep.errors import RunDirectoryError
from sweep.store import RunDirectory

HEARTBEAT_SECONDS = 10.0
WATCH_SECONDS = 35.0
"""How long an owner on another machine is watched for a heartbeat."""
LOOK_SECONDS = 0.5
WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
BOOT = Path("/proc/sys/kernel/random/boot_id")
PROCESSES = Path("/proc/self/ns/pid")


class Owner(BaseModel):
    """The process that has a run directory."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    host: str
    boot: str
    """Of its machine: after another one, no process of the last is there."""
    processes: str
    """What its number means something in: containers count for themselves."""
    began: float
    """When the process was started, in seconds since the epoch."""

    def __str__(self) -> str:
        return f"process {self.pid}" if self.host == socket.gethostname() else f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether this process would see it."""
        me = myself()
        return (self.boot, self.processes) == (me.boot, me.processes)

    @property
    def is_gone(self) -> bool:
        """Whether an owner on this machine has ended."""
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.began) > 1
        except psutil.NoSuchProcess:
            return True


def myself() -> Owner:
    """This process as an owner."""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    processes = str(PROCESSES.readlink()) if PROCESSES.is_symlink() else ""
    began = psutil.Process().create_time()
    return Owner(pid=os.getpid(), host=socket.gethostname(), boot=boot, processes=processes, began=began)


@contextmanager
def leased(run: RunDirectory, *, watch_seconds: float = WATCH_SECONDS) -> Iterator[None]:
    """Hold the run directory for this process. Raises RunDirectoryError where another has it, or it is read-only."""
    run.refuse_ways_out()
    path = run.path / ".lock"
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"{run.path}: cannot be written ({error.strerror}). Make it writable, or name another place with --runs."
        ) from error
    with stream:
        holds = _lock(run, stream)
        owner = _read(stream)
        if owner is not None and not (holds and owner.is_here) and _lives(owner, path, watch_seconds):
            raise _taken(run, owner)
        _write(stream, myself().model_dump_json() + "\n")
        ended = threading.Event()
        # It is never waited for: a lease must not keep its process alive.
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                _write(stream, "")


def _lock(run: RunDirectory, stream: TextIO) -> bool:
    """Take the kernel's lock; gives whether there are locks here."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _taken(run, _read(stream)) from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        return False
    return True


def _lives(owner: Owner, path: Path, watch_seconds: float) -> bool:
    """Whether an owner is still at work."""
    if owner.is_here:
        return not owner.is_gone
    if owner.host == socket.gethostname() and owner.boot != myself().boot:
        return False
    # Two machines' clocks need not agree: what counts is whether the heartbeat moves.
    first, until = path.stat().st_mtime_ns, time.monotonic() + watch_seconds
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if path.stat().st_mtime_ns != first:
            return True
    return False


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _read(stream: TextIO) -> Owner | None:
    stream.seek(0)
    try:
        return Owner.model_validate(json.loads(stream.read()))
    except (ValueError, ValidationError):
        return None


def _write(stream: TextIO, text: str) -> None:
    stream.seek(0)
    stream.truncate(0)
    stream.write(text)
    stream.flush()


def _taken(run: RunDirectory, owner: Owner | None) -> RunDirectoryError:
    who = "an unknown process" if owner is None else str(owner)
    return RunDirectoryError(f"{run.path}: in use by another `sweep run` ({who}). Wait for it, or end it first.")
