"""Names of all tasks and groups of lm-evaluation-harness, read from its files without importing it.

Checking a study file must not cost the import of torch, which lm-evaluation-harness brings along. Only names are
found here; whether a task's data are within reach shows when it is loaded.
"""

import difflib
import importlib.util
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from evals.errors import TaskError

QUOTE = r"[\"']?"
SCALAR = r"[ \t]*(?:\"([^\"\n]+)\"|'([^'\n]+)'|([^\s\[#'\"][^\n#]*))"
LIST = r"[ \t]*(?:\[(?P<inline>[^\]]*)\]|\n(?P<items>(?:[ \t]*[-#][^\n]*\n?)+))"
NAMED = re.compile(rf"^{QUOTE}(?:task|group|tag){QUOTE}:{SCALAR}", re.MULTILINE)
TAG_LIST = re.compile(rf"^{QUOTE}tag{QUOTE}:{LIST}", re.MULTILINE)
# Files that others include, and take tags from, go by any name without a suffix.
SUFFIXES = frozenset({"", ".yaml", ".yml"})


def known_tasks(include: Path | None = None) -> frozenset[str]:
    """Every task, group and tag that comes with lm-evaluation-harness, and those below `include`."""
    found = importlib.util.find_spec("lm_eval")
    places = [] if found is None or found.origin is None else [Path(found.origin).parent / "tasks"]
    places += [] if include is None else [include]
    files = (path for place in places for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return frozenset(name for path in files for name in _names(path.read_text(encoding="utf-8", errors="replace")))


def refuse_unknown(name: str, known: Collection[str]) -> None:
    """Raise TaskError, with the nearest names, for a task that is not among those known."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "`lm_eval ls tasks` shows all."
    raise TaskError(f"{name}: no task or group of this name in lm-evaluation-harness. {hint}")


def _names(text: str) -> Iterator[str]:
    for match in NAMED.finditer(text):
        yield next(filter(None, match.groups())).strip()
    for match in TAG_LIST.finditer(text):
        listed = match["inline"].split(",") if match["inline"] is not None else match["items"].splitlines()
        yield from (name for entry in listed if (name := entry.strip().lstrip("-").split("#")[0].strip(" \t\"'")))
