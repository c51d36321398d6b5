"""Rules on what a study spends and divides: bounds that end a search, and settings that it makes itself."""

from collections.abc import Iterator
from pathlib import Path

from evals.errors import TaskError
from evals.outside import is_inside
from evals.spec import GENERAL_TEXT
from evals.tasks.paragraphs import read_paragraphs
from sweep.spec import StudySpec
from sweep.study_file.schema import WrittenStudy
from sweep.study_file.validation import Finding

_MINUTES_PER_HOUR = 60
_BOUNDS = ("trials_per_method", "tokens_per_method", "device_hours_per_method")


def search_ends(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Something bounds the search, and one trial does not take all of it."""
    budget = spec.budget
    if all(getattr(budget, name) is None for name in _BOUNDS):
        message = f"budget bounds no search; set one of {', '.join(_BOUNDS)}."
        yield Finding(("budget",), message)
    hours, minutes = budget.device_hours_per_method, budget.trial_minutes
    if hours is not None and minutes is not None and minutes >= hours * _MINUTES_PER_HOUR:
        message = (
            f"budget.trial_minutes is {minutes:g}, and device_hours_per_method {hours:g}: one trial may take all. "
            "Give the method more hours, or a trial fewer minutes."
        )
        yield Finding(("budget", "trial_minutes"), message, (("budget", "device_hours_per_method"),))


def portions_are_the_studys(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Which items belong to which phase is not for a study file to say."""
    for phase, tasks in (("search", spec.evaluation.search), ("confirm", spec.evaluation.confirm)):
        for index, task in enumerate(tasks):
            place = ("evaluation", phase, index)
            if task.portion is not None:
                message = (
                    "portion is set by the study itself for tasks of both phases; leave it out, and set limit under "
                    "evaluation.search for the number of items that the search has."
                )
                yield Finding((*place, "portion"), message)
            if task.task == GENERAL_TEXT and task.num_fewshot:
                yield Finding((*place, "num_fewshot"), f"{GENERAL_TEXT} takes no num_fewshot; it is read as it is.")


def general_text_file(spec: StudySpec, data_root: Path) -> Iterator[Finding]:
    """The text that is read in place of the bundled one is there and holds some."""
    name = spec.evaluation.general_text
    if isinstance(name, str) and is_inside(data_root, name):
        try:
            read_paragraphs(data_root / name)
        except TaskError as error:
            yield Finding(("evaluation", "general_text"), f"evaluation.general_text: {error}")


RULES = (search_ends, portions_are_the_studys)
