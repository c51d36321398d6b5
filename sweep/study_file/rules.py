"""Rules on data, model, evaluation and objective: what no value shows to be impossible on its own."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from evals.judge.metrics import METRICS
from evals.models.trust import is_pinned
from evals.outside import is_inside
from evals.tasks.aggregate import AGGREGATIONS, aggregation_of
from sweep.spec import StudySpec, is_sql_file
from sweep.study_file.answer_rules import LABELS, may_be_scored
from sweep.study_file.document import Place
from sweep.study_file.judge_rules import judged_objective
from sweep.study_file.names import dotted, nearest
from sweep.study_file.schema import WrittenStudy
from sweep.study_file.validation import Finding

COPY = "Copy it there, or name the directory that all data files are in on the command line: --data DIR."
DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
OWN = "own"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/\w[\w.-]*)?")
_OTHER_SUFFIXES = frozenset({".arrow", ".gz", ".tsv", ".txt", ".xls", ".xlsx", ".yaml", ".yml", ".zip"})
"""Tasks by how their names begin; lm-evaluation-harness knows all of them, but takes long to ask."""
_WITHOUT_GENERATION = frozenset({"loss", "bits_per_byte"})
_LABEL_METRICS = frozenset({"accuracy", "macro_f1", "tied"})
_LARGEST_SEED = 2**32 - 1


def data_shares(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Held-out shares leave rows in every split."""
    held_out = {"validation": spec.data.validation, "test": spec.data.test}
    shares = {split: share for split, share in held_out.items() if not isinstance(share, str)}
    for split, share in shares.items():
        if not 0 < share < 1:
            message = f"data.{split} is {share:g}; it must be a share above 0 and below 1, or a file."
            yield Finding(("data", split), message)
    if all(0 < share < 1 for share in shares.values()) and sum(shares.values()) >= 1:
        message = f"data.validation and data.test hold {sum(shares.values()):g} of the rows; leave some to train on."
        yield Finding(("data", "validation"), message, (("data", "test"),))


def data_files(spec: StudySpec, data_root: Path) -> Iterator[Finding]:
    """Every file that the study names is there. A name that can be the Hub's is not looked up."""
    train_is_file = _is_file_name(spec.data.train, data_root)
    if train_is_file:
        yield from _missing_file("train", spec.data.train, data_root)
    for split, name in (("validation", spec.data.validation), ("test", spec.data.test)):
        # Beside a Hub data set, a word is the name of its split.
        if isinstance(name, str) and (train_is_file or _is_file_name(name, data_root)):
            yield from _missing_file(split, name, data_root)


def _is_file_name(name: str, data_root: Path) -> bool:
    suffix = Path(name).suffix.lower()
    looks_local = suffix in DATA_SUFFIXES or suffix in _OTHER_SUFFIXES or name.startswith((".", "/", "~"))
    return looks_local or not _HUB_NAME.fullmatch(name) or (data_root / name).exists()


def files_are_the_studys(spec: StudySpec, data_root: Path) -> Iterator[Finding]:
    """No file that a study names lies outside its directory: somebody else may have written the study."""
    data, judge = spec.data, spec.evaluation.scoring.judge
    named: dict[Place, object] = {("data", split): getattr(data, split) for split in ("train", "validation", "test")}
    named |= {("data", "json_schema"): data.json_schema, ("evaluation", "general_text"): spec.evaluation.general_text}
    named |= {("data", "sql_schema"): data.sql_schema if is_sql_file(data.sql_schema or "") else None}
    named |= {("evaluation", "scoring", "judge", "against"): judge and judge.against}
    for place, name in named.items():
        if isinstance(name, str | Path) and not is_inside(data_root, name):
            yield Finding(place, f"{dotted(place)}: {str(name)!r} lies outside {_shown(data_root)}. {COPY}")


def _shown(data_root: Path) -> str:
    return "the study's directory" if str(data_root) == "." else f"{data_root}"


def _missing_file(key: str, name: str, data_root: Path) -> Iterator[Finding]:
    path = data_root / name
    place = ("data", key)
    if not name.strip():
        yield Finding(place, f"data.{key} is empty; it must be a data file or the name of a Hub data set.")
    elif not is_inside(data_root, name):
        return
    elif path.is_dir():
        yield Finding(place, f"data.{key}: {name} is a directory; name one file of type {', '.join(DATA_SUFFIXES)}.")
    elif path.suffix.lower() not in DATA_SUFFIXES:
        yield Finding(place, f"data.{key}: {name!r} is no data file; allowed types are {', '.join(DATA_SUFFIXES)}.")
    elif path.exists() and not path.is_file():
        yield Finding(place, f"data.{key}: {name!r} is no regular file; copy what comes out of it into one.")
    elif not path.is_file():
        yield Finding(place, f"data.{key}: no file {name!r} in {path.parent}.{_similar_file(path)}")


def _similar_file(path: Path) -> str:
    found = (
        [file.name for file in path.parent.iterdir() if file.suffix in DATA_SUFFIXES] if path.parent.is_dir() else []
    )
    near = difflib.get_close_matches(path.name, found, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def model_is_named(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """There is a model, and code from elsewhere runs only at a revision that somebody has read."""
    if not spec.model.model_name_or_path.strip():
        message = "model.model_name_or_path is empty; name a Hub model, a directory, or package:NAME."
        yield Finding(("model", "model_name_or_path"), message)
    if spec.model.trust_remote_code and not is_pinned(spec.model.revision):
        message = (
            "model.trust_remote_code runs the repository's code; set model.revision to the commit you have read, "
            "as its full hash of 40 digits."
        )
        yield Finding(("model", "trust_remote_code"), message, (("model", "revision"),))


def seeds_fit(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """NumPy takes seeds of 32 bits."""
    if spec.seed > _LARGEST_SEED:
        yield Finding(("seed",), f"seed is {spec.seed}; it must be at most {_LARGEST_SEED}.")


def tasks_are_distinct(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Each phase scores something, and nothing twice."""
    for phase, tasks in (("search", spec.evaluation.search), ("confirm", spec.evaluation.confirm)):
        if not tasks:
            message = f"evaluation.{phase} is empty; list at least one task, such as own."
            yield Finding(("evaluation", phase), message)
        names = [task.task for task in tasks]
        for index, name in enumerate(names):
            place = ("evaluation", phase, index)
            if name in names[:index]:
                yield Finding(place, f"evaluation.{phase} lists {name!r} twice; a phase scores a task once.")
            if name == OWN and tasks[index].num_fewshot:
                message = "own takes no num_fewshot; the rows are asked as they are."
                yield Finding((*place, "num_fewshot"), message)


def objective_is_scored(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """The objective is one metric that the search's tasks give."""
    depends = (("evaluation", "search"), ("objective",))
    if spec.objective.maximize is not None and spec.objective.minimize is not None:
        yield Finding(("objective",), "objective has both maximize and minimize; keep one.", depends)
        return
    place = _objective_place(spec)
    metric = spec.objective.metric
    task, slash, name = metric.partition("/")
    if not slash or not task or not name:
        yield Finding(place, f"objective {metric!r} is no metric; write task/metric, such as own/loss.")
        return
    scored = [known.task for known in spec.evaluation.search]
    # A group of tasks reports its members' metrics too, under names that begin with its own.
    if not any(task == known or task.startswith(f"{known}_") for known in scored):
        near = nearest(task, scored)
        hint = f" Did you mean '{near}/{name}'?" if near else ""
        message = (
            f"objective {metric!r}: evaluation.search does not score {task!r}; it scores {', '.join(scored)}.{hint}"
        )
        yield Finding(place, message, depends)
    elif task == OWN:
        yield from _own_objective(spec, name)
    elif task in METRICS:
        yield from judged_objective(spec, task, name, place)


def _own_objective(spec: StudySpec, name: str) -> Iterator[Finding]:
    place = _objective_place(spec)
    depends = (("evaluation", "search"), ("data", "answer"), ("data", "label_by"))
    if name not in AGGREGATIONS and not may_be_scored(name, spec.data):
        near = nearest(name, AGGREGATIONS)
        hint = f" Did you mean 'own/{near}'?" if near else ""
        yield Finding(place, f"own has no metric {name!r}; it has {', '.join(AGGREGATIONS)}.{hint}")
        return
    higher_is_better = aggregation_of(name).higher_is_better
    if higher_is_better != (spec.objective.direction == "maximize"):
        better = "maximize" if higher_is_better else "minimize"
        yield Finding(place, f"objective own/{name} is better the other way; write {better}: own/{name}.")
    own = next(task for task in spec.evaluation.search if task.task == OWN)
    ranked = spec.data.answer in LABELS and spec.data.label_by == "likelihood"
    free = _WITHOUT_GENERATION | (_LABEL_METRICS if ranked else frozenset())
    if not own.generate and name not in free:
        message = f"objective own/{name} needs generated answers; set generate: true for own, or minimize own/loss."
        yield Finding(place, message, depends)


def _objective_place(spec: StudySpec) -> tuple[str, ...]:
    if spec.objective.maximize is None and spec.objective.minimize is None:
        return ("evaluation", "search")
    return ("objective", spec.objective.direction)


RULES = (data_shares, model_is_named, seeds_fit, tasks_are_distinct, objective_is_scored)
