"""Rules on how answers are graded: settings that suit their type, schemas that can be checked, a grader that is there.

A setting for another type of answer would be ignored, and its user would wait for a metric that never comes. Nothing
of the user's is run here: a grader is parsed, not imported.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from evals.errors import TaskError
from evals.outside import is_inside
from evals.tasks.aggregate import FIELD_F1
from evals.tasks.json_schema import complaints, read_schema
from evals.tasks.user_grader import FORM, METRIC_NAME, find_grader
from sweep.spec import DataSpec, StudySpec, is_sql_file
from sweep.study_file.schema import WrittenStudy
from sweep.study_file.validation import Finding

SUITS: Mapping[str, str] = {"json_schema": "json", "sql_schema": "sql"}
"""Which type of answer a setting is for."""
LABELS = frozenset({"auto", "label"})


def grading_suits_answers(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """What is said about one type of answer is not said of another."""
    data = spec.data
    depends = (("data", "answer"),)
    for key, kind in SUITS.items():
        if getattr(data, key) is not None and data.answer not in {"auto", kind}:
            message = f"data.{key} is for answers of type {kind}, and data.answer is {data.answer}; keep one of them."
            yield Finding(("data", key), message, depends)
    if data.json_schema is not None and data.sql_schema is not None:
        yield Finding(("data", "sql_schema"), "data has json_schema and sql_schema; answers are one or the other.")
    if data.label_by == "generation" and data.answer not in LABELS:
        message = f"data.label_by is for answers of type label, and data.answer is {data.answer}; leave it out."
        yield Finding(("data", "label_by"), message, depends)


def inline_schema_can_be_checked(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Every keyword of a JSON schema that stands in the study is one that is checked."""
    if isinstance(spec.data.json_schema, Mapping):
        for steps, complaint in complaints(spec.data.json_schema):
            yield Finding(("data", "json_schema", *steps), f"data.json_schema: {complaint}")


def grader_is_named(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """A grader is a function in a file."""
    if spec.data.grader is not None and FORM.fullmatch(spec.data.grader) is None:
        message = f"data.grader is {spec.data.grader!r}; write file.py:function, such as grader.py:grade."
        yield Finding(("data", "grader"), message)


def grading_files(spec: StudySpec, data_root: Path) -> Iterator[Finding]:
    """Schema files and the grader's file are there and hold what they should."""
    data = spec.data
    if isinstance(data.json_schema, str) and is_inside(data_root, data.json_schema):
        try:
            read_schema(data_root / data.json_schema)
        except TaskError as error:
            yield Finding(("data", "json_schema"), f"data.json_schema: {error}")
    tables = data.sql_schema if is_sql_file(data.sql_schema or "") else None
    if tables is not None and is_inside(data_root, tables) and not (data_root / tables).is_file():
        yield Finding(("data", "sql_schema"), f"data.sql_schema: no file {tables!r} in {data_root}.")
    if data.grader is not None and FORM.fullmatch(data.grader) is not None:
        try:
            find_grader(data.grader, data_root)
        except TaskError as error:
            yield Finding(("data", "grader"), f"data.grader: {error}")


def may_be_scored(name: str, data: DataSpec) -> bool:
    """Whether the answers may bring a metric that is not in the list: a field's, or one of the user's grader."""
    is_field = name.startswith(FIELD_F1) and name != FIELD_F1 and data.answer in {"auto", "json"}
    return is_field or (data.grader is not None and METRIC_NAME.fullmatch(name) is not None)


RULES = (grading_suits_answers, inline_schema_can_be_checked, grader_is_named)
