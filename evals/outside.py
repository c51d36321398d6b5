"""What comes from outside is read within bounds, and what is written is nobody else's unless its place is.

Files lie where they are said to, and JSON is not a pit.

Python's JSON reader goes as deep as its stack, and what it has read so deep nothing else can walk through. Torch-free.
"""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_DEPTH = 100
"""Levels of lists and objects within each other; real data have a handful."""


def is_inside(root: Path, name: str | Path) -> bool:
    """Whether a path that starts from a directory stays in it, links followed."""
    return "\0" not in str(name) and (root / name).resolve().is_relative_to(root.resolve())


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
