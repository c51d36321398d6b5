"""What each phase is scored on, so that no item by which a trial was chosen counts in a final score.

The user's own rows are divided into splits. A benchmark that both phases name is divided item by item: the search has
as many as its `limit` says, without one a share, and confirm has all others, for the base model and the finalists.
"""

from collections.abc import Mapping
from typing import Literal

from evals.spec import GENERAL_TEXT, RENDERED_TASKS, PortionSpec, TaskSpec
from sweep.spec import EvaluationSpec

SEARCH_SHARE = 0.2
"""Share of a task's items that the search has where it sets no limit: most belong to the final score."""


def tasks_of(evaluation: EvaluationSpec, phase: Literal["search", "confirm"]) -> tuple[TaskSpec, ...]:
    """The tasks of a phase, those of both phases with their portion."""
    tasks = evaluation.search if phase == "search" else _confirm(evaluation)
    sizes = search_sizes(evaluation)
    return tuple(_portion(task, phase, sizes[task.task]) if task.task in sizes else task for task in tasks)


def search_sizes(evaluation: EvaluationSpec) -> Mapping[str, float]:
    """Items that the search has of each task that both phases name: a share below 1, a number of them from 1 on."""
    confirmed = {task.task for task in _confirm(evaluation)} - RENDERED_TASKS
    return {
        task.task: SEARCH_SHARE if task.limit is None else task.limit
        for task in evaluation.search
        if task.task in confirmed
    }


def division_notes(evaluation: EvaluationSpec) -> list[str]:
    """A sentence for each task that is divided between the phases."""
    return [
        f"{task}: scored in both phases, and no item in both: the search has {_amount(size)}, confirm the others."
        for task, size in search_sizes(evaluation).items()
    ]


def _confirm(evaluation: EvaluationSpec) -> tuple[TaskSpec, ...]:
    named = {task.task for task in evaluation.confirm}
    if evaluation.general_text is False or GENERAL_TEXT in named:
        return evaluation.confirm
    return (*evaluation.confirm, TaskSpec(task=GENERAL_TEXT))


def _portion(task: TaskSpec, phase: Literal["search", "confirm"], size: float) -> TaskSpec:
    # The search's limit has become its portion; that of confirm counts among the items that are left.
    limit = None if phase == "search" else task.limit
    return task.model_copy(update={"limit": limit, "portion": PortionSpec(part=phase, search=size)})


def _amount(size: float) -> str:
    return f"{size:.0%} of each task's items" if size < 1 else f"{size:.0f} items of each task"
