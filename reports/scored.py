"""What can be compared by path: a trial, a method's repetitions, or any directory that lm-evaluation-harness wrote.

The stock tool puts its files into a directory named after the model, and a later score of the same model beside an
earlier one, told apart by the time in their names. Of each task the newest score counts.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.errors import InputError, RunError
from evals.items import read_sample_file
from evals.outside import parse_json, read_outside
from reports.sides import RESULT_FILES, Answers, Side, answers_of

STAMPED = re.compile(r"^results_(?P<stamp>.+)\.json$")
EVAL, RECORD, SEEDS = "eval", "record.json", "seed-*"


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """How one task was asked, as the results file has it."""

    version: str | None
    num_fewshot: int | None
    chat_template: str | None
    """Hash of the chat template that it was asked through."""
    system_instruction: str | None
    """Hash of the system instruction."""
    generation: str
    """Generation settings, as JSON."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One model's score: its answers, and how they were asked for."""

    answers: Answers
    tasks: Mapping[str, TaskFacts]
    values: Mapping[str, float]
    """Every reported score by `task/metric`."""
    higher_is_better: Mapping[str, bool]
    """By `task/metric`."""
    groups: Mapping[str, Sequence[str]]
    """Members of each group."""


@dataclass(slots=True)
class _Read:
    """What the results files of one directory say, the newest last."""

    samples: dict[str, Path] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    better: dict[str, bool] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)


def read_scored(path: Path, name: str) -> tuple[Side, tuple[Scored, ...]]:
    """Read one side of a comparison. Raises InputError where there is nothing to compare."""
    places = list(_places(path))
    found = tuple(read_results(place) for place in places)
    side = Side(name, _is_trained(path, places), tuple(one.answers for one in found))
    return side, found


def read_results(place: Path) -> Scored:
    """Read the newest score of each task in a directory, or in one results file and what belongs to it."""
    files = [place] if place.is_file() else sorted(place.glob(RESULT_FILES))
    read = _Read()
    for path in files:
        _take(path, read)
    items = []
    for task, path in sorted(read.samples.items()):
        try:
            items += read_sample_file(path)
        except (RunError, OSError) as error:
            raise InputError(f"{path}: the answers to {task} cannot be read: {error}") from error
    if not items:
        raise InputError(
            f"{place}: no per-item answers (samples_*.jsonl) beside the scores. Score again with --log_samples."
        )
    return Scored(answers_of(items), read.tasks, read.values, read.better, read.groups)


def _places(path: Path) -> Iterator[Path]:
    """Where the results files are: one place for each model."""
    if not path.exists():
        raise InputError(f"{path}: no such file or directory.")
    seeds = sorted(path.glob(SEEDS), key=lambda seed: (len(seed.name), seed.name)) if path.is_dir() else []
    if seeds:
        scored = [seed / EVAL for seed in seeds if any((seed / EVAL).glob(RESULT_FILES))]
        if not scored:
            raise InputError(f"{path}: none of its seeds has been scored.")
        yield from scored
        return
    if path.is_file() or any(path.glob(RESULT_FILES)):
        yield path
    elif any((path / EVAL).glob(RESULT_FILES)):
        yield path / EVAL
    else:
        yield _only_model(path)


def _only_model(path: Path) -> Path:
    """The stock tool's directory for the one model scored into this path."""
    models = sorted({found.parent for found in path.glob(f"*/{RESULT_FILES}")})
    if len(models) == 1:
        return models[0]
    if models:
        raise InputError(f"{path}: holds the scores of several models; name one of {', '.join(map(str, models))}.")
    raise InputError(
        f"{path}: no scores here. Name a trial, a method's directory below confirm/, or what lm-evaluation-harness "
        "wrote (results_*.json)."
    )


def _is_trained(path: Path, places: Sequence[Path]) -> bool:
    """Whether training again would give another model: several seeds, or a record that names a method."""
    if len(places) > 1:
        return True
    for record in (path / RECORD, places[0].parent / RECORD):
        try:
            return parse_json(read_outside(record))["config"]["method"] is not None
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


def _take(path: Path, read: _Read) -> None:
    """Take over what one results file says; it is newer than those before it."""
    try:
        _take_from(parse_json(read_outside(path)), path, read)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a results file that lm-evaluation-harness wrote: {error!r}.") from error


def _take_from(results: Mapping[str, Any], path: Path, read: _Read) -> None:
    matched = STAMPED.match(path.name)
    scores: Mapping[str, Mapping[str, Any]] = results["results"]
    stamp = matched["stamp"] if matched else ""
    read.groups |= {group: list(tasks) for group, tasks in results.get("group_subtasks", {}).items() if tasks}
    for task, entry in scores.items():
        samples = path.parent / f"samples_{task}_{stamp}.jsonl"
        # A results file may name anything; only what lies beside it belongs to it.
        if samples.parent == path.parent and samples.is_file():
            read.samples[task] = samples
        read.tasks[task] = _facts(task, results)
        directions = results.get("higher_is_better", {}).get(task) or {}
        for name, metric, value in _values(task, entry):
            read.values[name] = value
            read.better[name] = directions.get(metric) is not False


def _values(task: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each score of a task: its name, its metric, its value."""
    for key, value in entry.items():
        metric, comma, filtered_by = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            suffix = "" if filtered_by == "none" else f",{filtered_by}"
            yield f"{task}/{metric}{suffix}", metric, float(value)


def _facts(task: str, results: Mapping[str, Any]) -> TaskFacts:
    version = results.get("versions", {}).get(task)
    shots = results.get("n-shot", {}).get(task)
    config = results.get("configs", {}).get(task) or {}
    return TaskFacts(
        version=None if version is None else str(version),
        num_fewshot=None if shots is None else int(shots),
        chat_template=results.get("chat_template_sha"),
        system_instruction=results.get("system_instruction_sha"),
        generation=json.dumps(config.get("generation_kwargs"), sort_keys=True),
    )
