"""The JSON schema for editors takes what the loader takes, short forms included."""

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import studies
from sweep.study_file import reader

GOLDEN = Path(__file__).parents[2] / "golden"
SHORT = GOLDEN / "study_short.yaml"

SILENT = {
    "title",
    "description",
    "default",
    "$defs",
    "$schema",
    "format",
    "properties",
    "patternProperties",
    "additionalProperties",
}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], type | tuple[type, ...]]] = {
    "minimum": (operator.ge, (int, float)),
    "maximum": (operator.le, (int, float)),
    "exclusiveMinimum": (operator.gt, (int, float)),
    "exclusiveMaximum": (operator.lt, (int, float)),
    "minItems": (lambda value, bound: len(value) >= bound, list),
    "minProperties": (lambda value, bound: len(value) >= bound, dict),
    "uniqueItems": (lambda value, _: len(set(map(str, value))) == len(value), list),
    "required": (lambda value, bound: set(bound) <= value.keys(), dict),
    "pattern": (lambda value, bound: re.search(bound, value) is not None, str),
    "enum": (lambda value, bound: value in bound, object),
    "const": (operator.eq, object),
    "type": (lambda value, bound: isinstance(value, TYPES[bound]) and is_no_number_by_accident(value, bound), object),
}


def is_no_number_by_accident(value: Any, name: str) -> bool:
    # Python counts true as 1, JSON does not.
    return not isinstance(value, bool) or name == "boolean"


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """A check of the keywords that the study's schema uses; one that is not known here is an error."""
    return properties_conform(value, schema, root) and all(
        keyword_holds(keyword, value, bound, root) for keyword, bound in schema.items() if keyword not in SILENT
    )


def keyword_holds(keyword: str, value: Any, bound: Any, root: dict[str, Any]) -> bool:
    if keyword == "$ref":
        return conforms(value, root["$defs"][bound.removeprefix("#/$defs/")], root)
    if keyword == "anyOf":
        return any(conforms(value, option, root) for option in bound)
    if keyword == "items":
        return not isinstance(value, list) or all(conforms(item, bound, root) for item in value)
    holds, applies_to = BOUNDS[keyword]
    return not isinstance(value, applies_to) or holds(value, bound)


def properties_conform(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    for key, item in value.items() if isinstance(value, dict) else ():
        named = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        matching = [inner for pattern, inner in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
        for inner in named + matching or [schema.get("additionalProperties", True)]:
            if inner is not True and (inner is False or not conforms(item, inner, root)):
                return False
    return True


@pytest.mark.parametrize(
    "path", [*GOLDEN.glob("study_*.yaml"), *studies.bundled().values()], ids=lambda path: path.stem
)
def test_the_json_schema_accepts_every_bundled_study(path: Path) -> None:
    schema = reader.json_schema()
    content = YAML(typ="safe", pure=True).load(path)

    assert conforms(content, schema, schema)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("seed: -1", "seed: 1"),
        ("methods: [lorra]", "methods: [lora]"),
        ("methods: {lora: {peft: {r: 8}}}", "methods: {lora: {peft: {lora_r: 8}}}"),
        ("methods: {'a b': {}}", "methods: {a-b: }"),
        ("training: {lr: 1}", "training: "),
        ("search_space: {x: {step: 0}}", "search_space: {x: {step: 1}}"),
        ("sampler: {name: bayes}", "sampler: {name: gp}"),
        ("data: {train: x, json_schema: 3}", "data: {train: x, json_schema: {required: [a], properties: {a: {}}}}"),
        ("evaluation: {noise_floor: 2}", "evaluation: {noise_floor: false}"),
        ("evaluation: {search: [3]}", "evaluation: {search: [own, {task: mmlu}]}"),
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(wrong: str, right: str) -> None:
    schema = reader.json_schema()
    yaml = YAML(typ="safe", pure=True)
    sound = yaml.load(SHORT)

    assert conforms(sound | yaml.load(right), schema, schema)
    assert not conforms(sound | yaml.load(wrong), schema, schema)


def test_every_key_of_the_json_schema_is_described() -> None:
    schema: Any = reader.json_schema()
    described = {
        f"{name}.{key}": value
        for name, model in schema["$defs"].items()
        # A JSON schema within a study may hold any JSON.
        for key, value in model.get("properties", {}).items()
    }

    assert schema["description"]
    assert [key for key, value in described.items() if "description" not in value and "$ref" not in value] == []
