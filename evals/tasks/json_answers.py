"""Grade a JSON answer: its form, its values, and field by field.

Form and content are graded apart: `json_valid` asks that the whole answer parses, while all else looks at the first
JSON value found in it, so that a right answer inside a Markdown fence counts as right but not as valid. `field_match`
is the mean of each row's F1; `field_precision`, `field_recall` and `field_f1` pool the leaves of all rows, so that a
row with many fields weighs more. Torch-free.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from evals.outside import is_too_deep
from evals.outside import parse_json as parse_bounded
from evals.spec import OwnDataSpec, OwnRow
from evals.tasks.aggregate import FIELD_F1
from evals.tasks.json_schema import conforms

FENCE = re.compile(r"```[A-Za-z0-9]*\s*\n(.*?)```", re.DOTALL)
OPENING = re.compile(r"[{\[]")
# A model that has lost its way repeats brackets, and trying each of thousands takes minutes.
MAX_OPENINGS = 20
MAX_FIELDS = 20
"""Top-level fields that get an F1 of their own."""

Leaves = Counter[tuple[str, str]]
Grades = dict[str, float | tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON value that was found in an answer."""

    value: object


def build_json_grader(own: OwnDataSpec, rows: Sequence[OwnRow]) -> Callable[[OwnRow, str], Grades]:
    """Grade answers by value, by form, by the fields that these rows have, and by the schema if there is one."""
    fields = field_names([row.answer for row in rows])

    def grade(row: OwnRow, answer: str) -> Grades:
        grades = grade_json(row.answer, answer, fields)
        if own.json_schema is not None:
            grades["schema_valid"] = float(_follows(find_json(answer), own.json_schema))
        return grades

    return grade


def grade_json(expected: str, answer: str, fields: Sequence[str] = ()) -> Grades:
    """Grade one answer against the expected one."""
    found = find_json(answer)
    # A held-out row may not be JSON though the training answers are: its text is then the value.
    wanted = (parse_json(expected) or Found(expected.strip())).value
    ours, theirs = Counter(leaves(wanted)), Counter(() if found is None else leaves(found.value))
    shared = (ours & theirs).total()
    return {
        "exact_match": float(found is not None and canonical(found.value) == canonical(wanted)),
        "field_match": 2 * shared / (ours.total() + theirs.total()),
        "field_precision": (shared, theirs.total()),
        "field_recall": (shared, ours.total()),
        "field_f1": (2 * shared, ours.total() + theirs.total()),
        **{FIELD_F1 + name: _f1_within(name, ours, theirs) for name in fields},
        "json_valid": float(parse_json(answer) is not None),
        "no_answer": float(found is None),
    }


def field_names(answers: Sequence[str]) -> tuple[str, ...]:
    """Top-level fields of the expected answers, the most frequent first, as many as get an F1 of their own."""
    values = [found.value for answer in answers if (found := parse_json(answer)) is not None]
    counts = Counter(name for value in values if isinstance(value, dict) for name in value)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:MAX_FIELDS])


def find_json(answer: str) -> Found | None:
    """The whole answer as JSON; failing that, the first fenced block, or the first object or array in the text."""
    fenced = FENCE.search(answer)
    whole = parse_json(answer) or (parse_json(fenced.group(1)) if fenced else None)
    return whole or _first_value(answer)


def parse_json(text: str) -> Found | None:
    """Parse text as one JSON value, strictly: `NaN` and `Infinity` are not JSON, and neither is a pit of brackets."""
    try:
        return Found(parse_bounded(text, parse_constant=_refuse_constant))
    except ValueError:
        return None


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every plain value within a JSON value, with its path; an empty object or array is a leaf itself."""
    members: list[tuple[str, object]] = []
    if isinstance(value, dict):
        members = [(f"{path}/{json.dumps(key)}", member) for key, member in value.items()]
    elif isinstance(value, list):
        members = [(f"{path}/{index}", member) for index, member in enumerate(value)]
    if not members:
        yield path, canonical(value)
    for member_path, member in members:
        yield from leaves(member, member_path)


def canonical(value: object) -> str:
    """One text for equal JSON values: key order does not count, 1 equals 1.0, and neither equals true."""
    return json.dumps(_plain_numbers(value), sort_keys=True)


def _f1_within(name: str, ours: Leaves, theirs: Leaves) -> tuple[float, float]:
    """A field's numerator and denominator of F1; a field that neither has counts for nothing."""
    path = f"/{json.dumps(name)}"
    wanted, given = (
        Counter({leaf: count for leaf, count in found.items() if leaf[0] == path or leaf[0].startswith(path + "/")})
        for found in (ours, theirs)
    )
    return 2 * (wanted & given).total(), wanted.total() + given.total()


def _follows(found: Found | None, schema: Mapping[str, object]) -> bool:
    try:
        return found is not None and conforms(found.value, schema)
    except (RecursionError, TimeoutError):
        return False


def _first_value(answer: str) -> Found | None:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    for opening in islice(OPENING.finditer(answer), MAX_OPENINGS):
        try:
            value = decoder.raw_decode(answer, opening.start())[0]
        except (ValueError, RecursionError):
            continue
        if not is_too_deep(value):
            return Found(value)
    return None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON.")


def _plain_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain_numbers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(member) for member in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
