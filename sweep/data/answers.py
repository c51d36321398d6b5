"""What the answers are, which decides how they are scored; seen from the training rows alone.

A constant answer is what no skill at all would give: the most frequent answers, and for JSON objects also the object of
each field's most frequent value, written the way that the user writes JSON.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from evals.outside import parse_json
from evals.spec import AnswerType
from sweep.data.rows import quoted
from sweep.errors import DataError
from sweep.spec import DataSpec

MAX_LABELS = 64
MAX_LABEL_CHARACTERS = 40
MIN_ROWS_PER_LABEL = 4
MAX_CONSTANTS = 20
SEPARATORS = ((", ", ": "), (",", ":"))


def answer_type(answers: Sequence[str], spec: DataSpec, *, shape: str) -> AnswerType:
    """Type of the training answers. Raises DataError where they are not what the study says."""
    check_answer_policy(spec, shape)
    if shape == "text":
        return "none"
    if spec.answer == "json":
        _refuse_broken_json(answers)
    if spec.answer != "auto":
        return spec.answer
    if spec.sql_schema is not None:
        return "sql"
    if all(_json_structure(answer) is not None for answer in answers):
        return "json"
    return "label" if _are_labels(answers) else "text"


def check_answer_policy(spec: DataSpec, shape: str) -> None:
    """Raise DataError for a type that the shape cannot have."""
    named = [] if spec.answer == "auto" else ["answer"]
    named += [key for key in ("json_schema", "sql_schema") if getattr(spec, key) is not None]
    if shape == "text" and named:
        raise DataError(
            f"data.{named[0]}: rows of plain text have no answers. Leave this key out, or use prompt + completion."
        )


def constant_answers(answers: Sequence[str], answer: AnswerType) -> tuple[str, ...]:
    """The most frequent training answers, ties by text, and for JSON objects the most frequent value of each field."""
    if answer == "none":
        return ()
    ranked = sorted(Counter(answers).items(), key=lambda item: (-item[1], item[0]))
    constants = [text for text, _ in ranked[:MAX_CONSTANTS]]
    if answer == "json":
        constants += [text for text in _fieldwise(answers) if text not in constants]
    return tuple(constants)


def _fieldwise(answers: Sequence[str]) -> list[str]:
    objects = [_json_structure(answer) for answer in answers]
    fields: dict[str, Counter[str]] = {}
    for found in objects:
        if not isinstance(found, dict):
            return []
        for name, value in found.items():
            fields.setdefault(name, Counter())[json.dumps(value, sort_keys=True)] += 1
    usual = {name: values for name, values in fields.items() if 2 * values.total() > len(objects)}
    constant = {name: json.loads(_most_frequent(values)) for name, values in usual.items()}
    return [_written_like(answers[0], constant)] if constant else []


def _most_frequent(values: Mapping[str, int]) -> str:
    return min(values, key=lambda value: (-values[value], value))


def _written_like(example: str, value: object) -> str:
    """JSON in the separators and escapes of an example, which exact match would otherwise count as wrong."""
    parsed = json.loads(example)
    for separators in SEPARATORS:
        for ensure_ascii in (False, True):
            if json.dumps(parsed, separators=separators, ensure_ascii=ensure_ascii) == example:
                return json.dumps(value, separators=separators, ensure_ascii=ensure_ascii)
    return json.dumps(value, ensure_ascii=False)


def _json_structure(text: str) -> dict[str, object] | list[object] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def _refuse_broken_json(answers: Sequence[str]) -> None:
    broken = [answer for answer in answers if _json_structure(answer) is None]
    if broken:
        raise DataError(
            f"data.answer: {len(broken)} of {len(answers)} training answers are no JSON object or list, such as "
            f"{quoted(broken[0])}. Mend them, or set data.answer: text."
        )


def _are_labels(answers: Sequence[str]) -> bool:
    distinct = set(answers)
    return (
        len(distinct) <= MAX_LABELS
        and all(len(answer) <= MAX_LABEL_CHARACTERS for answer in distinct)
        and len(answers) >= MIN_ROWS_PER_LABEL * len(distinct)
    )
