import json

import pytest

from sweep.data.answers import answer_type, constant_answers
from sweep.errors import DataError
from sweep.spec import DataSpec

AUTO = DataSpec(train="d.jsonl")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (['{"a": 1}', "[]", "{}"], "json"),
        (['{"a": 1}', "none"], "text"),
        (["yes", "no"] * 4, "label"),
        (["yes", "no"] * 3, "text"),
        (["1", "2"] * 4, "label"),
        (["true"] * 8, "label"),
        (["x" * 41] * 8, "text"),
        ([f"label {number}" for number in range(64)] * 4, "label"),
        ([f"label {number}" for number in range(65)] * 4, "text"),
    ],
)
def test_the_type_follows_from_the_training_answers(answers: list[str], expected: str) -> None:
    assert answer_type(answers, AUTO, shape="prompt") == expected


def test_plain_text_has_no_answers() -> None:
    assert answer_type(["{}"], AUTO, shape="text") == "none"
    with pytest.raises(DataError, match="have no answers"):
        answer_type(["{}"], DataSpec(train="d.jsonl", answer="json"), shape="text")


def test_what_the_study_says_goes_before_what_answers_look_like() -> None:
    assert answer_type(["yes"] * 9, DataSpec(train="d.jsonl", answer="text"), shape="prompt") == "text"
    assert answer_type(["a", "b"], DataSpec(train="d.jsonl", answer="label"), shape="prompt") == "label"


def test_constants_are_the_twenty_most_frequent_with_ties_by_text() -> None:
    answers = ["b", "a", "c", "c"] + [f"z{number:02d}" for number in range(30)]

    constants = constant_answers(answers, "text")

    assert constants[:4] == ("c", "a", "b", "z00")
    assert len(constants) == 20


def test_json_constants_end_with_the_most_frequent_value_of_each_field() -> None:
    answers = ['{"a": 1, "b": null}', '{"a": 2, "b": null}', '{"a": 2, "b": 5}', '{"a": 2, "b": 6, "rare": 0}']

    # The last constant is no answer of anyone: a is 2 in three of four rows, b null in two.
    assert constant_answers(answers, "json")[-1] == '{"a": 2, "b": null}'


@pytest.mark.parametrize("style", [{"separators": (",", ":")}, {"ensure_ascii": False}, {}])
def test_a_constant_is_written_the_way_the_user_writes_json(style: dict[str, object]) -> None:
    answers = [json.dumps({"a": "ü", "b": number}, **style) for number in range(3)]
    answers += [json.dumps({"a": f"{number}", "b": 9}, **style) for number in range(2)]

    assert constant_answers(answers, "json")[-1] == json.dumps({"a": "ü", "b": 9}, **style)
