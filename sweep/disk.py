"""A disk that cannot be written, in one line: full, read-only, over its quota, failing, or gone.

It says nothing about a trial, so no trial ends by it: the study stops, and the same command goes on once there is room.
Libraries wrap the kernel's error in their own, or keep only its words.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.errors import DiskError, InputError, RunError

TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE})
IN_THE_WAY = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP})
"""Troubles of a directory of ours; elsewhere they are the doing of whoever named a file."""
IN_WORDS = re.compile(
    r"(No space left on device|Disk quota exceeded|Read-only file system|Input/output error|File too large"
    r"|database or disk is full|attempt to write a readonly database|disk I/O error|unable to open database file)"
)
"""As the C library, and as SQLite, say it."""


def trouble(error: BaseException | None) -> str | None:
    """What is wrong with the disk, in a phrase, where an error or what it came from says so."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in TROUBLE:
            return os.strerror(error.errno) + (f": {error.filename}" if error.filename else "")
        said = IN_WORDS.search(str(error)) if isinstance(error, Exception) else None
        if said is not None:
            return said[1]
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def named(place: Path) -> Iterator[None]:
    """Turn what a bad disk under a directory causes into a DiskError, which is one line."""
    try:
        yield
    except (RunError, InputError):
        raise
    except Exception as error:
        reason = (place.exists() and trouble(error)) or _blocked(error, place)
        reason = reason or (None if place.exists() else "it is gone")
        if reason is None:
            raise
        raise disk_error(place, reason) from error


def _blocked(error: BaseException | None, place: Path) -> str | None:
    """What keeps a file below a directory from being written or read, where an error or what it came from says so."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in IN_THE_WAY and _is_below(error.filename, place):
            return f"{error.strerror}: {error.filename}"
        error = error.__cause__ or error.__context__
    return None


def _is_below(name: object, place: Path) -> bool:
    return isinstance(name, str) and Path(name).absolute().is_relative_to(place.absolute())


def disk_error(place: Path, reason: str) -> DiskError:
    """The line that a person reads."""
    return DiskError(
        f"{place}: cannot be written ({reason}). Everything that ended is saved; mend that, and give the same "
        "command again."
    )


class Place:
    """A directory, of which it can be told later whether it is still there."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._identity = self._look()

    def refuse_gone(self) -> None:
        """Raise DiskError where it was taken away, or another lies in its place: nothing would go with new files."""
        if self._look() != self._identity:
            raise disk_error(self._path, "it is gone")

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
