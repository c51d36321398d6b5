"""Where a task's questions come from, as lm-evaluation-harness wrote it down beside the scores."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.outside import parse_json, read_outside

RESULT_FILES = "results_*.json"
HUB_NAME = re.compile(r"^[\w-][\w.-]*/[\w-][\w.-]*$")
"""`owner/name`; what is no such name is a format, such as `json`, or a place on this machine."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A task's data set on the Hub."""

    dataset: str
    """`owner/name`."""
    config: str | None
    """Its configuration; none where subtasks use several."""
    split: str | None
    """The split that was asked."""
    revision: str | None
    """Its revision, where the task pins one."""


def read_benchmarks(directory: Path) -> dict[str, Benchmark]:
    """Data sets by task and group, from the result files of an evaluation directory; damaged files give none."""
    found: dict[str, Benchmark] = {}
    for path in sorted(directory.glob(RESULT_FILES)):
        try:
            results = parse_json(read_outside(path))
            configs = {name: _benchmark(config) for name, config in results.get("configs", {}).items()}
            known = {name: one for name, one in configs.items() if one is not None}
            found |= known | _groups(results.get("group_subtasks", {}), known)
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            continue
    return found


def _benchmark(config: Mapping[str, object]) -> Benchmark | None:
    name = config.get("dataset_path")
    if not isinstance(name, str) or not HUB_NAME.match(name):
        return None
    settings = config.get("dataset_kwargs")
    revision = settings.get("revision") if isinstance(settings, dict) else None
    split = config.get("test_split") or config.get("validation_split")
    return Benchmark(name, _text(config.get("dataset_name")), _text(split), _text(revision))


def _groups(members: Mapping[str, list[str]], known: Mapping[str, Benchmark]) -> dict[str, Benchmark]:
    """Groups whose tasks all come from one data set."""
    found = {}
    for group, tasks in members.items():
        parts = [known[task] for task in tasks if task in known]
        if parts and len({part.dataset for part in parts}) == 1:
            found[group] = Benchmark(parts[0].dataset, None, parts[0].split, parts[0].revision)
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
