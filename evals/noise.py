"""The noise floor: what changes when the same model answers the same questions again.

Parallel kernels and ties make scores move without any training, and a gap between two methods below this floor is no
gap. Items are compared one by one, because flips in both directions cancel in a mean. Zero says that this machine
repeats itself, not that another one would agree. Torch-free: it reads the files that scoring wrote.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from evals.items import REPEAT, Item, read_items
from evals.result import Noise

ANSWER = "answer"


def repeat_directory(output: Path, number: int) -> Path:
    """Where the files of a repeated score go; the first has them in the directory itself."""
    return output / f"{REPEAT}{number}"


def noise_between(directories: Sequence[Path]) -> dict[str, Noise]:
    """Compare the items of one model that was scored several times, metric by metric."""
    runs = [
        {(item.task, item.filter, item.doc_id): item for item in read_items(directory)} for directory in directories
    ]
    compared: dict[str, list[tuple[bool, float]]] = {}
    for key, first in runs[0].items():
        same_item = [first, *(run[key] for run in runs[1:] if key in run)]
        for name, differs in _differences(same_item):
            compared.setdefault(name, []).append(differs)
    return {name: _noise(found) for name, found in compared.items()}


def _differences(items: Sequence[Item]) -> Iterator[tuple[str, tuple[bool, float]]]:
    """Whether one item's scores differ, and by how much."""
    first = items[0]
    suffix = "" if first.filter == "none" else f",{first.filter}"
    for name in first.scores:
        values = [item.scores[name] for item in items if name in item.scores]
        # A loss that is no number is unlike itself; the same nothing twice is no flip.
        differ = any(left != right and not (left != left and right != right) for left, right in pairwise(values))  # noqa: PLR0124
        yield f"{first.task}/{name}{suffix}", (differ, max(values) - min(values) if differ else 0.0)
    answers = {item.answer for item in items}
    yield f"{first.task}/{ANSWER}{suffix}", (len(answers) > 1, float(len(answers) > 1))


def _noise(found: Sequence[tuple[bool, float]]) -> Noise:
    return Noise(
        flipped=sum(differs for differs, _ in found) / len(found), largest=max(by for _, by in found), n=len(found)
    )
