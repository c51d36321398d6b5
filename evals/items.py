"""Read per-item scores back from lm-evaluation-harness's sample files.

Reports pair the items of two models by task and `doc_hash`. Torch-free, and free of lm-evaluation-harness: a report
is built from files alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from evals.errors import RunError
from evals.outside import lines_outside, parse_json
from evals.spec import OUR_TASKS

SAMPLE_FILES = "samples_*.jsonl"
REPEAT = "repeat-"
"""Begins the directory of a repeated score, whose items are the same ones again."""
STAMP = re.compile(r"_\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(\.\d+)?$")
PAIR = 2


@dataclass(frozen=True, slots=True)
class Item:
    """One question to one model, through one filter."""

    task: str
    """The task's name."""
    doc_id: int
    """Place of the item in its data set."""
    doc_hash: str
    """Identity of the item, the same for every model."""
    filter: str
    """The filter that the response went through; `none` for most."""
    scores: Mapping[str, float]
    """Metrics of this item by name."""
    weights: Mapping[str, float]
    """For a metric that is a ratio of sums, such as the loss, this item's denominator; 1 for all others."""
    target: str
    """The expected answer."""
    answer: str
    """The first filtered response; for a choice, the number of the most likely one."""
    row: int | None
    """Row of the user's own file; none for other tasks."""
    group: str | None
    """Items of one group are not independent."""
    prompt_hash: str = ""
    """Identity of the prompt, examples and chat template included; empty where the file has none."""
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Expected and given text, for a metric that only makes sense over all items, such as a macro F1."""


def read_items(directory: Path) -> list[Item]:
    """Every item of every task scored into this directory, by task, filter and place. Raises RunError for bad files."""
    paths = [path for path in sorted(directory.rglob(SAMPLE_FILES)) if not _is_repeated(path.relative_to(directory))]
    items = [item for path in paths for item in read_sample_file(path)]
    return sorted(items, key=lambda item: (item.task, item.filter, item.doc_id))


def _is_repeated(path: Path) -> bool:
    return any(part.startswith(REPEAT) for part in path.parts[:-1])


def read_sample_file(path: Path) -> list[Item]:
    """Every item of one file, in its order. Raises RunError for a bad one."""
    task = STAMP.sub("", path.name.removeprefix("samples_").removesuffix(".jsonl"))
    items: list[Item] = []
    try:
        for line in lines_outside(path):
            items.append(_read_item(task, parse_json(line)))  # noqa: PERF401 - how many there are tells where it failed
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        place = f"{path}:{len(items) + 1}"
        raise RunError(f"{place}: not a sample that lm-evaluation-harness wrote: {error!r}.") from error
    return items


def _read_item(task: str, sample: Mapping[str, Any]) -> Item:
    values = {name: _score(sample[name]) for name in sample["metrics"] if name in sample}
    scored = {name: pair for name, pair in values.items() if pair is not None}
    own = sample["doc"] if task in OUR_TASKS else {}
    return Item(
        task=task,
        doc_id=int(sample["doc_id"]),
        doc_hash=str(sample["doc_hash"]),
        filter=str(sample["filter"]),
        scores={name: value for name, (value, _) in scored.items()},
        weights={name: weight for name, (_, weight) in scored.items() if weight != 1.0},
        target=str(sample["target"]),
        answer=_own_answer(sample) if own else _answer(sample["filtered_resps"]),
        row=None if own.get("row") is None else int(own["row"]),
        group=None if own.get("group") is None else str(own["group"]),
        prompt_hash=str(sample.get("prompt_hash", "")),
        labels={name: pair for name in sample["metrics"] if (pair := _labels(sample.get(name))) is not None},
    )


def _score(value: object) -> tuple[float, float] | None:
    """A metric's value and weight; none where it only makes sense over all items, such as a pair of labels."""
    if isinstance(value, Real):
        return float(value), 1.0
    if isinstance(value, list) and len(value) == PAIR and all(isinstance(part, Real) for part in value):
        numerator, denominator = (float(part) for part in value)
        return (numerator / denominator, denominator) if denominator else None
    return None


def _labels(value: object) -> tuple[str, str] | None:
    if isinstance(value, list) and len(value) == PAIR and all(isinstance(part, str) for part in value):
        expected, given = value
        return expected, given
    return None


def _own_answer(sample: Mapping[str, Any]) -> str:
    """The generated text; without one the most likely label, where answers are labels."""
    first = sample["filtered_resps"][0]
    return first if isinstance(first, str) else str(sample.get("macro_f1", ("", ""))[1])


def _answer(responses: list[Any]) -> str:
    """Generated text as it is; log-likelihoods, which are pairs, as the number of the largest."""
    first = responses[0] if responses else ""
    if not isinstance(first, list):
        return str(first)
    try:
        logprobs = [float(logprob) for logprob, _ in responses]
    except ValueError:
        return str(first[0]) if first else ""
    return str(logprobs.index(max(logprobs)))
