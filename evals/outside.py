"""What comes from outside is read within bounds, and what is written is nobody else's unless its place is.

Files lie where they are said to, and JSON is not a pit.

Python's JSON reader goes as deep as its stack, and what it has read so deep nothing else can walk through. Torch-free.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_DEPTH = 100
"""Levels of lists and objects within each other; real data have a handful."""
MAX_BYTES = 2**30
"""Of a file that is read as a whole."""
MAX_LINE_BYTES = 64 * 2**20
"""Of a line of a file that is read line by line."""


def is_inside(root: Path, name: str | Path) -> bool:
    """Whether a path that starts from a directory stays in it, links followed."""
    # Unlike pathlib's, this one makes no error of links in a circle, which lead nowhere.
    return "\0" not in str(name) and Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))


def open_outside(path: Path) -> BinaryIO:
    """Open a file to read its bytes. Raises OSError for what has no end: a device, or a pipe that nobody writes to."""
    # Opening a pipe would wait for its writer.
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return stream


def read_outside(path: Path, most: int = MAX_BYTES) -> bytes:
    """A whole file of bounded size. Raises OSError for a larger one, and for what is none."""
    with open_outside(path) as stream:
        if os.fstat(stream.fileno()).st_size > most:
            raise OSError(errno.EINVAL, f"it is larger than {most / 2**20:,.0f} MiB", str(path))
        return stream.read()


def lines_outside(path: Path) -> Iterator[bytes]:
    """A file's lines. Raises OSError for what is no file, ValueError at a line that nothing real has."""
    with open_outside(path) as stream:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"a line of more than {MAX_LINE_BYTES // 2**20} MiB")
            yield line


def make_public(scratch: Path) -> None:
    """Give a temporary directory, which nobody else could read, the rights of the directory that it lies in.

    Nobody else may write there, whatever the parent allows: it may be a place for everybody, such as /tmp.
    """
    scratch.chmod(stat.S_IMODE(scratch.parent.stat().st_mode) & 0o755)


def parse_json(text: str | bytes, parse_constant: Callable[[str], object] | None = None) -> Any:  # noqa: ANN401 - as json
    """A JSON value. Raises ValueError where there is none, and where it is nested beyond anything real."""
    try:
        value = json.loads(text, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if is_too_deep(value):
        raise ValueError("nested too deeply")
    return value


def is_too_deep(value: object) -> bool:
    """Whether lists and objects are nested beyond `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            member
            for one in level
            if isinstance(one, list | dict)
            for member in (one.values() if isinstance(one, dict) else one)
            if isinstance(member, list | dict)
        ]
        if not level:
            return False
    return True
