"""Grading one generated answer."""

import json

import pytest

from evals.tasks.answers import NO_LABEL, canonical, field_f1, find_json, find_label, grade, normalize

LABELS = ("card lost", "card stolen", "Other")


def test_text_is_compared_without_surrounding_white_space_only() -> None:
    assert grade("text", "Paris", " Paris\n", ())["exact_match"] == 1.0
    assert grade("text", "Paris", "paris", ())["exact_match"] == 0.0


def test_normalized_match_ignores_case_white_space_and_punctuation() -> None:
    assert grade("text", "It's  Paris.", "its paris", ())["normalized_match"] == 1.0
    assert grade("text", "Paris", "Paris France", ())["normalized_match"] == 0.0
    assert normalize("«STRASSE» ") == normalize("straße")


def test_an_empty_answer_is_no_answer() -> None:
    assert grade("text", "Paris", " \n", ()) == {"exact_match": 0.0, "normalized_match": 0.0, "no_answer": 1.0}


def test_json_matches_by_value_whatever_its_layout() -> None:
    grades = grade("json", '{"a": 1, "b": [true, null]}', ' {"b":[true,null],\n"a":1.0} ', ())

    assert grades == {"exact_match": 1.0, "field_match": 1.0, "json_valid": 1.0, "no_answer": 0.0}


def test_json_in_a_fence_or_a_sentence_is_right_but_not_valid() -> None:
    for answer in ('```json\n{"a": 1}\n```', 'Here you are: {"a": 1}. Anything else?', 'A {brace} first. {"a": 1}'):
        assert grade("json", '{"a": 1}', answer, ()) == {
            "exact_match": 1.0,
            "field_match": 1.0,
            "json_valid": 0.0,
            "no_answer": 0.0,
        }


@pytest.mark.parametrize("answer", ["", "no idea", '{"a": 1', "{a: 1}", '{"a": NaN}', "[" * 100_000])
def test_what_holds_no_json_is_no_answer(answer: str) -> None:
    assert grade("json", '{"a": 1}', answer, ()) == {
        "exact_match": 0.0,
        "field_match": 0.0,
        "json_valid": 0.0,
        "no_answer": 1.0,
    }


def test_true_is_not_one_and_text_is_not_a_number() -> None:
    assert canonical(True) != canonical(1)
    assert canonical("1") != canonical(1)
    assert canonical({"a": [1.0]}) == canonical({"a": [1]})


def test_a_missing_a_wrong_and_an_extra_field_each_cost() -> None:
    wanted = {"name": "Ann", "when": {"day": 1, "hour": 2}}

    assert field_f1(wanted, wanted) == 1.0
    assert field_f1(wanted, {"name": "Ann"}) == pytest.approx(2 * 1 / (3 + 1))
    assert field_f1(wanted, {"name": "Ann", "when": {"day": 1, "hour": 3}}) == pytest.approx(2 * 2 / 6)
    assert field_f1(wanted, {**wanted, "extra": 0}) == pytest.approx(2 * 3 / 7)


def test_empty_objects_and_plain_values_are_fields_too() -> None:
    assert field_f1({}, {}) == 1.0
    assert field_f1({"a": []}, {"a": {}}) == 0.0
    assert field_f1("yes", "yes") == 1.0


def test_keys_that_look_like_paths_are_told_from_nesting() -> None:
    assert field_f1({"a/b": 1}, {"a": {"b": 1}}) == 0.0


def test_a_held_out_row_that_is_not_json_is_compared_as_text() -> None:
    assert grade("json", "none", '"none"', ())["exact_match"] == 1.0
    assert grade("json", "none", '{"a": 1}', ())["exact_match"] == 0.0


def test_the_first_json_value_is_taken() -> None:
    found = find_json('first {"a": 1}, then {"a": 2}')

    assert found is not None
    assert found.value == {"a": 1}


def test_a_label_is_found_exactly_or_by_its_only_normalized_match() -> None:
    assert find_label("card lost", LABELS) == "card lost"
    assert find_label(" other. ", LABELS) == "Other"
    assert find_label("card", LABELS) == NO_LABEL
    assert find_label("A", ("a", "a.")) == NO_LABEL


def test_a_label_answer_outside_the_list_is_no_answer() -> None:
    grades = grade("label", "Other", "something else", LABELS)

    assert grades == {"exact_match": 0.0, "accuracy": 0.0, "macro_f1": ("Other", ""), "no_answer": 1.0}


def test_exact_match_of_a_label_is_stricter_than_accuracy() -> None:
    grades = grade("label", "Other", "other", LABELS)

    assert (grades["exact_match"], grades["accuracy"]) == (0.0, 1.0)


def test_grades_survive_json_as_sample_files_need() -> None:
    grades = grade("label", "Other", "Other", LABELS)

    assert json.loads(json.dumps(grades))["macro_f1"] == ["Other", "Other"]
