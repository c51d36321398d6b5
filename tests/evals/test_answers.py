"""Grading one generated answer: text and labels."""

import json

import pytest

from evals.spec import AnswerType, OwnDataSpec, OwnRow
from evals.tasks.aggregate import AGGREGATIONS, NO_LABEL
from evals.tasks.answers import BUILDERS, build_grader, find_label, grade_label, grade_text, normalize

LABELS = ("card lost", "card stolen", "Other")


def test_text_is_compared_without_surrounding_white_space_only() -> None:
    assert grade_text("Paris", " Paris\n")["exact_match"] == 1.0
    assert grade_text("Paris", "paris")["exact_match"] == 0.0


def test_normalized_match_ignores_case_white_space_and_punctuation() -> None:
    assert grade_text("It's  Paris.", "its paris")["normalized_match"] == 1.0
    assert grade_text("Paris", "Paris France")["normalized_match"] == 0.0
    assert normalize("«STRASSE» ") == normalize("straße")


def test_a_near_answer_scores_between_wrong_and_right() -> None:
    near, wrong = grade_text("the cat sat", "a cat sat"), grade_text("the cat sat", "no")

    assert 0 < near["chrf"] < 1
    assert near["rouge_l"] == pytest.approx(2 * 2 / 6)
    assert (wrong["chrf"], wrong["rouge_l"]) == (0.0, 0.0)


def test_an_empty_answer_is_no_answer() -> None:
    assert grade_text("Paris", " \n")["no_answer"] == 1.0
    assert set(grade_text("Paris", "")) == {"exact_match", "normalized_match", "chrf", "rouge_l", "no_answer"}
    assert sum(value for name, value in grade_text("Paris", "").items() if name != "no_answer") == 0.0


@pytest.mark.parametrize("kind", ["text", "json", "label", "sql"])
def test_every_type_of_answer_marks_where_none_was_found_and_uses_known_metrics(kind: AnswerType, tmp_path) -> None:
    own = OwnDataSpec(rows=tmp_path / "rows.jsonl", answer=kind, labels=LABELS)
    row = OwnRow(row=1, prompt="?", completion="x", answer='{"a": 1}', sql_schema="CREATE TABLE t (a)")

    grades = build_grader(own, [row])(row, "")

    assert grades["no_answer"] == 1.0
    assert {name for name in grades if name.partition("/")[0] not in AGGREGATIONS} == set()
    assert set(BUILDERS) == {"none", "text", "json", "label", "sql"}


def test_a_label_is_found_exactly_or_by_its_only_normalized_match() -> None:
    assert find_label("card lost", LABELS) == "card lost"
    assert find_label(" other. ", LABELS) == "Other"
    assert find_label("card", LABELS) == NO_LABEL
    assert find_label("A", ("a", "a.")) == NO_LABEL


def test_a_label_answer_outside_the_list_is_no_answer() -> None:
    grades = grade_label("Other", "something else", LABELS)

    assert grades == {"exact_match": 0.0, "accuracy": 0.0, "macro_f1": ("Other", ""), "no_answer": 1.0}


def test_exact_match_of_a_label_is_stricter_than_accuracy() -> None:
    grades = grade_label("Other", "other", LABELS)

    assert (grades["exact_match"], grades["accuracy"]) == (0.0, 1.0)


def test_grades_survive_json_as_sample_files_need() -> None:
    grades = grade_label("Other", "Other", LABELS)

    assert json.loads(json.dumps(grades))["macro_f1"] == ["Other", "Other"]
