"""Compare one generated answer with the expected one, by the kind of answer.

A grader is built once for a task, because some need all rows (which fields there are) or a file (the user's own
function). Each answer then gives values by metric; a metric that an item cannot have is left out for it, and what
could not be found in an answer at all is marked `no_answer`. Torch-free.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evals.spec import AnswerType, OwnDataSpec, OwnRow
from evals.tasks.aggregate import AGGREGATIONS, NO_LABEL
from evals.tasks.json_answers import build_json_grader
from evals.tasks.overlap import chrf, rouge_l
from evals.tasks.sql_answers import build_sql_grader
from evals.tasks.user_grader import UserGrader

Grade = float | tuple[float, float] | tuple[str, str]
"""A score; a numerator and denominator; or the expected and the given label. Pairs need all items to become a score."""
Grades = Mapping[str, Grade]
Grader = Callable[[OwnRow, str], Grades]
"""Grades one answer to one row."""


@dataclass(frozen=True, slots=True)
class AnswerGrader:
    """What grades the answers to some rows."""

    by_kind: Grader
    by_user: UserGrader | None

    def __call__(self, row: OwnRow, answer: str) -> Grades:
        """Grade one answer."""
        return {**self.by_kind(row, answer), **({} if self.by_user is None else self.by_user(row, answer))}

    @property
    def errors(self) -> Mapping[int, str]:
        """What the user's own function failed on, by the number of the row."""
        return {} if self.by_user is None else self.by_user.errors

    def forget_errors(self) -> None:
        """Begin anew: what follows is another model's answers, or the same model's again."""
        if self.by_user is not None:
            self.by_user.errors.clear()


def build_grader(own: OwnDataSpec, rows: Sequence[OwnRow]) -> AnswerGrader:
    """What grades the answers to these rows. Raises TaskError where the user's own function does not work."""
    by_user = None if own.grader is None else UserGrader(own.grader, taken=AGGREGATIONS)
    if by_user is not None:
        by_user.refuse_broken(rows)
    return AnswerGrader(BUILDERS[own.answer](own, rows), by_user)


def normalize(text: str) -> str:
    """Fold case, drop punctuation and collapse white space."""
    kept = "".join(character for character in text.casefold() if not unicodedata.category(character).startswith("P"))
    return " ".join(kept.split())


def find_label(answer: str, labels: Sequence[str]) -> str:
    """The label that an answer names, exactly or after normalizing; `NO_LABEL` where it names none or several."""
    if answer.strip() in labels:
        return answer.strip()
    normalized = normalize(answer)
    matches = {label for label in labels if normalize(label) == normalized}
    return matches.pop() if len(matches) == 1 else NO_LABEL


def grade_text(expected: str, answer: str) -> Grades:
    """Whether the answer is the expected text, and how much of it."""
    return {
        "exact_match": float(answer.strip() == expected.strip()),
        "normalized_match": float(normalize(answer) == normalize(expected)),
        "chrf": chrf(expected, answer),
        "rouge_l": rouge_l(expected, answer),
        "no_answer": float(not answer.strip()),
    }


def grade_label(expected: str, answer: str, labels: Sequence[str]) -> Grades:
    """Whether the answer names the expected label."""
    named = find_label(answer, labels)
    return {
        "exact_match": float(answer.strip() == expected.strip()),
        "accuracy": float(named == expected.strip()),
        "macro_f1": (expected.strip(), named),
        "no_answer": float(named == NO_LABEL),
    }


def _build_none(_: OwnDataSpec, __: Sequence[OwnRow]) -> Grader:
    return lambda _row, _answer: {}


def _build_text(_: OwnDataSpec, __: Sequence[OwnRow]) -> Grader:
    return lambda row, answer: grade_text(row.answer, answer)


def _build_label(own: OwnDataSpec, _: Sequence[OwnRow]) -> Grader:
    return lambda row, answer: grade_label(row.answer, answer, own.labels)


BUILDERS: Mapping[AnswerType, Callable[[OwnDataSpec, Sequence[OwnRow]], Grader]] = {
    "none": _build_none,
    "text": _build_text,
    "json": build_json_grader,
    "label": _build_label,
    "sql": build_sql_grader,
}
