"""Rules on answers that another model judges: there is a judge, and its metrics are what the study thinks they are."""

from collections.abc import Iterator

from evals.judge.metrics import JUDGE_ERROR, METRICS
from sweep.spec import StudySpec
from sweep.study_file.document import Place
from sweep.study_file.names import nearest
from sweep.study_file.schema import WrittenStudy
from sweep.study_file.validation import Finding


def judged_tasks_have_a_judge(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Who judges is named, and the rows are asked as they are."""
    for phase, tasks in (("search", spec.evaluation.search), ("confirm", spec.evaluation.confirm)):
        for index, task in enumerate(tasks):
            if task.task not in METRICS:
                continue
            place = ("evaluation", phase, index)
            if spec.evaluation.scoring.judge is None:
                message = f"{task.task} needs a judge; set evaluation.scoring.judge: {{base_url: …, model: …}}."
                yield Finding(place, message, (("evaluation", "scoring", "judge"),))
            for key in ("num_fewshot", "gen_kwargs"):
                if getattr(task, key):
                    yield Finding((*place, key), f"{task.task} takes no {key}; the user's rows are asked as they are.")


def judged_objective(spec: StudySpec, task: str, name: str, place: Place) -> Iterator[Finding]:
    """The objective is one that the judged task gives, and better in the direction that it says."""
    known = (METRICS[task], JUDGE_ERROR)
    if name not in known:
        near = nearest(name, known)
        hint = f" Did you mean '{task}/{near}'?" if near else ""
        yield Finding(place, f"{task} has no metric {name!r}; it has {', '.join(known)}.{hint}")
        return
    better = "minimize" if name == JUDGE_ERROR else "maximize"
    if spec.objective.direction != better:
        yield Finding(place, f"objective {task}/{name} is better the other way; write {better}: {task}/{name}.")


RULES = (judged_tasks_have_a_judge,)
