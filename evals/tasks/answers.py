"""Compare one generated answer with the expected one, by the kind of answer.

Form and content are graded apart for JSON: `json_valid` asks that the whole answer parses, while `exact_match` and
`field_match` look at the first JSON value found in it, so that a right answer inside a Markdown fence counts as right
but not as valid. Torch-free.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from evals.spec import AnswerType

Grade = float | tuple[float, float] | tuple[str, str]
"""A score; a numerator and denominator; or the expected and the given label. Pairs need all items to become a score."""
Grades = Mapping[str, Grade]

FENCE = re.compile(r"```[A-Za-z0-9]*\s*\n(.*?)```", re.DOTALL)
OPENING = re.compile(r"[{\[]")
NO_LABEL = ""
# A model that has lost its way repeats brackets, and trying each of thousands takes minutes.
MAX_OPENINGS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON value that was found in an answer."""

    value: object


def grade(kind: AnswerType, expected: str, answer: str, labels: Sequence[str]) -> Grades:
    """Grade one answer against the expected one."""
    return GRADERS[kind](expected, answer, labels)


def normalize(text: str) -> str:
    """Fold case, drop punctuation and collapse white space."""
    kept = "".join(character for character in text.casefold() if not unicodedata.category(character).startswith("P"))
    return " ".join(kept.split())


def find_json(answer: str) -> Found | None:
    """The whole answer as JSON; failing that, the first fenced block, or the first object or array in the text."""
    fenced = FENCE.search(answer)
    whole = parse_json(answer) or (parse_json(fenced.group(1)) if fenced else None)
    return whole or _first_value(answer)


def parse_json(text: str) -> Found | None:
    """Parse text as one JSON value, strictly: `NaN` and `Infinity` are not JSON."""
    try:
        return Found(json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
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


def field_f1(expected: object, answer: object) -> float:
    """F1 over (path, value) leaves: a missing, wrong or extra field each costs."""
    wanted, given = Counter(leaves(expected)), Counter(leaves(answer))
    return 2 * (wanted & given).total() / (wanted.total() + given.total())


def find_label(answer: str, labels: Sequence[str]) -> str:
    """The label that an answer names, exactly or after normalizing; `NO_LABEL` where it names none or several."""
    if answer.strip() in labels:
        return answer.strip()
    normalized = normalize(answer)
    matches = {label for label in labels if normalize(label) == normalized}
    return matches.pop() if len(matches) == 1 else NO_LABEL


def _grade_text(expected: str, answer: str, labels: Sequence[str]) -> Grades:  # noqa: ARG001
    return {
        "exact_match": float(answer.strip() == expected.strip()),
        "normalized_match": float(normalize(answer) == normalize(expected)),
        "no_answer": float(not answer.strip()),
    }


def _grade_json(expected: str, answer: str, labels: Sequence[str]) -> Grades:  # noqa: ARG001
    found = find_json(answer)
    # A held-out row may not be JSON though the training answers are: its text is then the value.
    wanted = (parse_json(expected) or Found(expected.strip())).value
    return {
        "exact_match": float(found is not None and canonical(found.value) == canonical(wanted)),
        "field_match": 0.0 if found is None else field_f1(wanted, found.value),
        "json_valid": float(parse_json(answer) is not None),
        "no_answer": float(found is None),
    }


def _grade_label(expected: str, answer: str, labels: Sequence[str]) -> Grades:
    named = find_label(answer, labels)
    return {
        "exact_match": float(answer.strip() == expected.strip()),
        "accuracy": float(named == expected.strip()),
        "macro_f1": (expected.strip(), named),
        "no_answer": float(named == NO_LABEL),
    }


def _grade_none(expected: str, answer: str, labels: Sequence[str]) -> Grades:  # noqa: ARG001
    return {}


GRADERS: Mapping[AnswerType, Callable[[str, str, Sequence[str]], Grades]] = {
    "none": _grade_none,
    "text": _grade_text,
    "json": _grade_json,
    "label": _grade_label,
}


def _first_value(answer: str) -> Found | None:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    for opening in islice(OPENING.finditer(answer), MAX_OPENINGS):
        try:
            return Found(decoder.raw_decode(answer, opening.start())[0])
        except (ValueError, RecursionError):
            continue
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
