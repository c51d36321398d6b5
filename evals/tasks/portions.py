"""Which items of a benchmark choose, and which report: no item does both.

Items are drawn by a hash of their task's name and their place, so that the draw is even whatever order a data set
comes in, the same on every machine, and the same for every model of a study. A group is divided task by task.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence

from lm_eval.utils import handle_non_serializable

from evals.errors import TaskError
from evals.spec import TaskSpec
from evals.tasks.library import LoadedTask


def places(task: LoadedTask) -> dict[str, list[int]] | None:
    """Places of the items that are asked, by task; None where no portion is set. Raises TaskError for none at all."""
    if task.spec.portion is None:
        return None
    return {leaf.task_name: chosen(leaf.task_name, len(leaf.eval_docs), task.spec) for leaf in task.leaves}


def chosen(name: str, count: int, spec: TaskSpec) -> list[int]:
    """Places of a task's items that a spec asks, in order. Raises TaskError where one part would have none."""
    portion = spec.portion
    if portion is None:
        return list(range(_amount(spec.limit, count)))
    size = _amount(portion.search, count)
    if size >= count:
        raise TaskError(
            f"{name}: the search would be scored on all of its {count} items and leave none to confirm with. Set a "
            "smaller limit under evaluation.search, or take the task out of one phase."
        )
    for_search = set(sorted(range(count), key=lambda place: _rank(name, place))[:size])
    mine = [place for place in range(count) if (place in for_search) == (portion.part == "search")]
    return mine[: _amount(spec.limit, len(mine))]


def refuse_shared_items(search: Sequence[LoadedTask], confirm: Sequence[LoadedTask]) -> None:
    """Raise TaskError where an item of the search is asked in confirm too, under another name than its own."""
    for one in search:
        ours = set(_hashes(one))
        for other in confirm:
            shared = 0 if one.spec.task == other.spec.task else len(ours & set(_hashes(other)))
            if shared:
                raise TaskError(
                    f"evaluation: {shared:,} items of {one.spec.task!r}, which the search chooses by, are asked again "
                    f"in confirm by {other.spec.task!r}. Name one and the same task in both phases, and its items are "
                    "divided between them, or take one of the two out."
                )


def _amount(limit: float | None, count: int) -> int:
    if limit is None:
        return count
    return min(count, math.ceil(count * limit) if limit < 1 else int(limit))


def _rank(name: str, place: int) -> bytes:
    return hashlib.sha256(f"{name}/{place}".encode()).digest()


def _hashes(task: LoadedTask) -> Iterator[str]:
    """Identity of every item, as lm-evaluation-harness has it in its sample files."""
    for leaf in task.leaves:
        for doc in leaf.eval_docs:
            text = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
            yield hashlib.sha256(text.encode()).hexdigest()
