"""The part of JSON schema that is checked, and the refusal of the rest."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from evals.errors import TaskError
from evals.tasks.json_schema import PATTERN_SECONDS, complaints, conforms, read_schema

KEYWORDS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None]),
    ({"type": ["number", "null"]}, [1, 1.5, None], [True, "1", []]),
    ({"type": "object"}, [{}], [[], None]),
    ({"enum": ["a", 1, None]}, ["a", 1, 1.0, None], ["b", True, []]),
    ({"const": {"a": [1]}}, [{"a": [1.0]}], [{"a": [True]}, {"a": [1, 1]}]),
    ({"properties": {"a": {"type": "string"}}}, [{"a": "x"}, {"b": 1}, {}, 5], [{"a": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}, {}], [{"b": 1}]),
    ({"additionalProperties": {"type": "number"}}, [{"b": 1}], [{"b": "x"}]),
    ({"required": ["a", "b"]}, [{"a": 1, "b": None}, "text"], [{"a": 1}, {}]),
    ({"items": {"minimum": 2}, "minItems": 1, "maxItems": 2}, [[2], [2, 3], "x"], [[], [1], [2, 2, 2]]),
    ({"uniqueItems": True}, [[1, True], [1, 2]], [[1, 1.0]]),
    ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9, True, "x"], [0.9, 3]),
    ({"exclusiveMinimum": 1, "maximum": 3}, [1.1, 3], [1, 3.1]),
    ({"minLength": 1, "maxLength": 2, "pattern": "^[a-c]"}, ["a", "bz", 5], ["", "abc", "d"]),
    ({"anyOf": [{"type": "null"}, {"minimum": 5}]}, [None, 6], [4]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1.5], [3]),
    ({"oneOf": [{"minimum": 1}, {"minimum": 5}]}, [1], [6, 0]),
    ({"not": {"type": "null"}}, [1], [None]),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, ["a"], [1]),
]


@pytest.mark.parametrize(("schema", "follow", "break_"), KEYWORDS, ids=lambda value: str(value)[:40])
def test_each_keyword_admits_what_the_standard_says(schema, follow: list[Any], break_: list[Any]) -> None:
    assert complaints(schema) == []
    assert [value for value in follow if not conforms(value, schema)] == []
    assert [value for value in break_ if conforms(value, schema)] == []


def test_a_pattern_that_would_take_years_over_a_string_is_given_up() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^(a|aa)+$"}}}
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        conforms({"name": "a" * 60 + "!"}, schema)

    assert time.monotonic() - began < 10 * PATTERN_SECONDS


@pytest.mark.parametrize(
    ("schema", "steps", "says"),
    [
        ({"properties": {"a": {"typ": "string"}}}, ("properties", "a", "typ"), "unknown keyword 'typ'"),
        ({"anyOf": [{}, {"type": "text"}]}, ("anyOf", 1, "type"), "type must be one of object"),
        ({"$ref": "#/$defs/none"}, ("$ref",), "that the schema's $defs has"),
        ({"$ref": "https://example.org"}, ("$ref",), "#/$defs/NAME"),
        ({"pattern": "["}, ("pattern",), "a regular expression"),
        ({"required": "a"}, ("required",), "a list of names"),
        ({"minLength": -1}, ("minLength",), "from 0 on"),
        ({"items": 3}, ("items",), "a mapping of keywords"),
        ({"enum": []}, ("enum",), "at least one member"),
        ({"properties": []}, ("properties",), "from names to schemas"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, (), "without an end"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_with_its_place(schema, steps, says: str) -> None:
    found = complaints(schema)

    assert [place for place, _ in found] == [steps]
    assert says in found[0][1]


class Line(BaseModel):
    """One position."""

    name: str
    amount: float | None = None


class Order(BaseModel):
    """What a user of pydantic would write."""

    number: int
    lines: list[Line]


def test_a_schema_from_pydantic_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(json.dumps(Order.model_json_schema()))
    schema = read_schema(tmp_path / "order.json")

    assert conforms({"number": 1, "lines": [{"name": "a", "amount": None}]}, schema)
    assert not conforms({"number": 1, "lines": [{"amount": 2}]}, schema)


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "no JSON schema can be read"), ("[]", "is an object"), ('{"typ": 1}', "s.json: typ: unknown keyword")],
)
def test_a_file_that_holds_no_schema_is_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(content)

    with pytest.raises(TaskError, match=says):
        read_schema(tmp_path / "s.json")
    with pytest.raises(TaskError, match="no JSON schema"):
        read_schema(tmp_path / "none.json")


def test_a_value_nested_without_end_does_not_follow_a_schema_nested_without_end() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}

    assert complaints(schema) == []
    assert conforms([[[]]], schema)


def doubling(lines: int) -> dict[str, object]:
    """A schema whose every definition refers to the next one twice."""
    definitions = {f"d{line}": {"allOf": [{"$ref": f"#/$defs/d{line + 1}"}] * 2} for line in range(lines)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{lines}": {}}}


def test_definitions_that_refer_to_each_other_without_number_are_refused() -> None:
    (complaint,) = complaints(doubling(60))

    assert "steps to check" in complaint[1]
    assert complaints(doubling(10)) == []


def test_patterns_have_a_second_for_all_of_a_schema_together() -> None:
    schema = {"anyOf": [{"pattern": "^(a|aa)+$"}] * 1_000}
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        conforms("a" * 27 + "!", schema)

    assert time.monotonic() - began < 3 * PATTERN_SECONDS
