"""Grading JSON answers: form, value, and field by field."""

from typing import Any

import pytest

from evals.spec import OwnDataSpec, OwnRow
from evals.tasks.aggregate import aggregation_of
from evals.tasks.json_answers import build_json_grader, canonical, field_names, find_json, grade_json


def field_f1(expected: Any, answer: Any) -> float:
    matched = grade_json(canonical(expected), canonical(answer))["field_match"]
    assert isinstance(matched, float)
    return matched


def form(expected: str, answer: str) -> dict[str, Any]:
    grades = grade_json(expected, answer)
    return {name: grades[name] for name in ("exact_match", "field_match", "json_valid", "no_answer")}


def test_json_matches_by_value_whatever_its_layout() -> None:
    grades = form('{"a": 1, "b": [true, null]}', ' {"b":[true,null],\n"a":1.0} ')

    assert grades == {"exact_match": 1.0, "field_match": 1.0, "json_valid": 1.0, "no_answer": 0.0}


def test_json_in_a_fence_or_a_sentence_is_right_but_not_valid() -> None:
    for answer in ('```json\n{"a": 1}\n```', 'Here you are: {"a": 1}. Anything else?', 'A {brace} first. {"a": 1}'):
        assert form('{"a": 1}', answer) == {
            "exact_match": 1.0,
            "field_match": 1.0,
            "json_valid": 0.0,
            "no_answer": 0.0,
        }


@pytest.mark.parametrize("answer", ["", "no idea", '{"a": 1', "{a: 1}", '{"a": NaN}', "[" * 100_000])
def test_what_holds_no_json_is_no_answer(answer: str) -> None:
    assert form('{"a": 1}', answer) == {
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
    assert form("none", '"none"')["exact_match"] == 1.0
    assert form("none", '{"a": 1}')["exact_match"] == 0.0


def test_the_first_json_value_is_taken() -> None:
    found = find_json('first {"a": 1}, then {"a": 2}')

    assert found is not None
    assert found.value == {"a": 1}


def test_fields_of_all_rows_are_pooled() -> None:
    # One of one, then none of three wanted while one is given: precision 1/2, recall 1/4.
    rows = [grade_json('{"a": 1}', '{"a": 1}'), grade_json('{"a": 1, "b": 2, "c": 3}', '{"a": 9}')]

    def pooled(name: str) -> float:
        return aggregation_of(name).metric([row[name] for row in rows]).value

    assert pooled("field_precision") == pytest.approx(1 / 2)
    assert pooled("field_recall") == pytest.approx(1 / 4)
    assert pooled("field_f1") == pytest.approx(2 * 1 / (2 + 4))
    assert pooled("field_match") == pytest.approx((1 + 0) / 2)


def test_an_answer_without_json_costs_recall_and_not_precision() -> None:
    grades = grade_json('{"a": 1}', "no idea", ["a"])

    assert (grades["field_precision"], grades["field_recall"]) == ((0, 0), (0, 1))
    assert (grades["field_f1"], grades["field_f1/a"]) == ((0, 1), (0, 1))


def test_each_top_level_field_has_an_f1_over_all_within_it() -> None:
    wanted, answer = '{"a": {"x": 1, "y": 2}, "ab": 3}', '{"a": {"x": 1, "y": 9}, "c": 4}'
    grades = grade_json(wanted, answer, ["a", "ab", "c", "d"])

    assert grades["field_f1/a"] == (2, 4)
    assert grades["field_f1/ab"] == (0, 1)
    assert grades["field_f1/c"] == (0, 1)
    assert grades["field_f1/d"] == (0, 0)


def test_the_twenty_most_frequent_fields_are_followed() -> None:
    answers = ["no JSON", "[1]", *(canonical({"always": 1, f"f{number:02d}": 2}) for number in range(30))]

    names = field_names(answers)

    assert names[:3] == ("always", "f00", "f01")
    assert len(names) == 20


def test_a_schema_judges_the_value_that_was_found(tmp_path) -> None:
    schema = {"type": "object", "required": ["a"]}
    own = OwnDataSpec(rows=tmp_path / "rows.jsonl", answer="json", json_schema=schema)
    row = OwnRow(row=1, prompt="?", completion="{}", answer='{"a": 1}')
    grade = build_json_grader(own, [row])

    assert [grade(row, answer)["schema_valid"] for answer in ('So: {"a": 2}', '{"b": 1}', "none")] == [1.0, 0.0, 0.0]
    assert "schema_valid" not in build_json_grader(own.model_copy(update={"json_schema": None}), [row])(row, "{}")


def test_an_answer_that_a_pattern_is_not_done_with_does_not_follow_the_schema(tmp_path) -> None:
    schema = {"properties": {"a": {"pattern": "^(a|aa)+$"}}}
    own = OwnDataSpec(rows=tmp_path / "rows.jsonl", answer="json", json_schema=schema)
    row = OwnRow(row=1, prompt="?", completion="{}", answer='{"a": "aaa"}')
    grade = build_json_grader(own, [row])

    assert grade(row, '{"a": "aaa"}')["schema_valid"] == 1.0
    grades = grade(row, canonical({"a": "a" * 60 + "!"}))
    assert (grades["schema_valid"], grades["json_valid"]) == (0.0, 1.0)
