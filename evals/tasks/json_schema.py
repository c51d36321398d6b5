"""Check JSON values against a JSON schema: the part of draft 2020-12 that describes plain data.

An unknown keyword is refused when the schema is read instead of ignored, as the standard would have it: an ignored
one would let every answer pass. `format` is no assertion in the standard either, and is left alone. Torch-free.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]  # it has no types

from evals.errors import TaskError
from evals.outside import read_outside

Schema = Mapping[str, Any]
Given = Any
"""A keyword's value; its form is checked when the schema is read."""
Steps = tuple[str | int, ...]
"""Keys and list positions that lead to a part of a schema."""

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": (int, float),
    "number": (int, float),
}
ANNOTATIONS = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "format"}
)
REFERENCE = "#/$defs/"
PATTERN_SECONDS = 1.0
"""Longest time that patterns may look through a value: there are patterns that take years over some strings."""
MAX_STEPS = 1_000_000
"""Parts of a schema that a value is held against, at most: forty lines that refer to each other twice are 2^40."""


class _Root(dict[str, Any]):
    """The whole schema, and what the check of one value may still take."""

    steps = MAX_STEPS
    pattern_seconds = PATTERN_SECONDS


def read_schema(path: Path) -> Schema:
    """Read a schema from a JSON file. Raises TaskError where it is none that can be checked."""
    try:
        schema = json.loads(read_outside(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")
        raise TaskError(f"{path.name}: no JSON schema can be read from it: {reason}.") from error
    if not isinstance(schema, dict):
        raise TaskError(f'{path.name}: a JSON schema is an object, such as {{"type": "object"}}.')
    for steps, complaint in complaints(schema):
        place = "/".join(map(str, steps))
        raise TaskError(f"{path.name}: {place + ': ' if place else ''}{complaint}")
    return schema


def complaints(schema: Schema) -> list[tuple[Steps, str]]:
    """What is wrong with a schema, each with its place in it."""
    try:
        found = list(_complaints(schema, schema, ()))
        if not found:
            conforms(None, schema)
    except TimeoutError as error:
        return [((), f"{error}; let definitions refer to each other less often.")]
    except RecursionError:
        return [((), "it refers to itself without an end; let every circle pass through properties or items.")]
    return found


def conforms(value: object, schema: object, root: Schema | None = None) -> bool:
    """Whether a JSON value follows a schema.

    Raises RecursionError for one nested beyond Python's stack, TimeoutError where that takes too long.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping):
        return False
    top = root if isinstance(root, _Root) else _Root(schema if root is None else root)
    top.steps -= 1
    if top.steps < 0:
        raise TimeoutError(f"it takes more than {MAX_STEPS:,} steps to check")
    return all(CHECKS[name](value, given, schema, top) for name, given in schema.items() if name in CHECKS)


def _is_type(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def _equal(left: object, right: object) -> bool:
    """JSON's equality: 1 equals 1.0, and neither equals true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return left == right


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type(value: object, given: Given, _: Schema, __: Schema) -> bool:
    return any(_is_type(value, name) for name in ([given] if isinstance(given, str) else given))


def _properties(value: object, given: Given, _: Schema, root: Schema) -> bool:
    return not isinstance(value, dict) or all(
        conforms(value[name], inner, root) for name, inner in given.items() if name in value
    )


def _additional(value: object, given: Given, schema: Schema, root: Schema) -> bool:
    named = schema.get("properties", {})
    return not isinstance(value, dict) or all(
        conforms(member, given, root) for name, member in value.items() if name not in named
    )


def _items(value: object, given: Given, _: Schema, root: Schema) -> bool:
    return not isinstance(value, list) or all(conforms(item, given, root) for item in value)


def _unique(value: object, given: Given, _: Schema, __: Schema) -> bool:
    if not given or not isinstance(value, list):
        return True
    return not any(_equal(item, other) for index, item in enumerate(value) for other in value[:index])


def _is_found(pattern: str, text: str, root: _Root) -> bool:
    began = time.monotonic()
    found = regex.search(pattern, text, timeout=max(root.pattern_seconds, 0.0)) is not None
    root.pattern_seconds -= time.monotonic() - began
    return found


CHECKS: Mapping[str, Callable[[object, Given, Schema, _Root], bool]] = {
    "type": _type,
    "enum": lambda value, given, _, __: any(_equal(value, choice) for choice in given),
    "const": lambda value, given, _, __: _equal(value, given),
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda value, given, _, __: not isinstance(value, dict) or set(given) <= value.keys(),
    "items": _items,
    "minItems": lambda value, given, _, __: not isinstance(value, list) or len(value) >= given,
    "maxItems": lambda value, given, _, __: not isinstance(value, list) or len(value) <= given,
    "uniqueItems": _unique,
    "minimum": lambda value, given, _, __: not _is_number(value) or value >= given,
    "maximum": lambda value, given, _, __: not _is_number(value) or value <= given,
    "exclusiveMinimum": lambda value, given, _, __: not _is_number(value) or value > given,
    "exclusiveMaximum": lambda value, given, _, __: not _is_number(value) or value < given,
    "minLength": lambda value, given, _, __: not isinstance(value, str) or len(value) >= given,
    "maxLength": lambda value, given, _, __: not isinstance(value, str) or len(value) <= given,
    "pattern": lambda value, given, _, root: not isinstance(value, str) or _is_found(given, value, root),
    "anyOf": lambda value, given, _, root: any(conforms(value, inner, root) for inner in given),
    "allOf": lambda value, given, _, root: all(conforms(value, inner, root) for inner in given),
    "oneOf": lambda value, given, _, root: sum(conforms(value, inner, root) for inner in given) == 1,
    "not": lambda value, given, _, root: not conforms(value, given, root),
    "$ref": lambda value, given, _, root: conforms(value, root["$defs"][given.removeprefix(REFERENCE)], root),
}
"""Every keyword that asserts something: value, what the keyword says, the schema around it, the whole schema."""

SCHEMAS = frozenset({"items", "additionalProperties", "not"})
LISTS_OF_SCHEMAS = frozenset({"anyOf", "allOf", "oneOf"})
MAPS_OF_SCHEMAS = frozenset({"properties", "$defs"})


def _complaints(schema: object, root: Schema, steps: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield steps, "a schema is a mapping of keywords, or true or false."
        return
    for name, given in schema.items():
        place = (*steps, name)
        if name in ANNOTATIONS:
            continue
        if name not in CHECKS and name != "$defs":
            yield place, f"unknown keyword {name!r}. Known are {', '.join([*CHECKS, '$defs'])}."
        elif name in NEEDED and not NEEDED[name][0](given):
            yield place, f"{name} must be {NEEDED[name][1]}."
        elif name == "$ref" and not _is_defined(given, root):
            yield place, f"$ref must be {REFERENCE}NAME, with a NAME that the schema's $defs has."
        else:
            yield from _complaints_within(name, given, root, place)


def _complaints_within(name: str, given: Given, root: Schema, place: Steps) -> Iterator[tuple[Steps, str]]:
    inner: list[tuple[Steps, object]] = []
    if name in SCHEMAS:
        inner = [(place, given)]
    elif name in LISTS_OF_SCHEMAS:
        inner = [((*place, index), member) for index, member in enumerate(given)]
    elif name in MAPS_OF_SCHEMAS:
        inner = [((*place, key), member) for key, member in given.items()]
    for steps, member in inner:
        yield from _complaints(member, root, steps)


def _are_types(given: object) -> bool:
    names = given if isinstance(given, list) else [given]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _are_names(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) for name in given)


def _is_count(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 0


def _is_filled_list(given: object) -> bool:
    return isinstance(given, list) and bool(given)


def _is_pattern(given: object) -> bool:
    try:
        return isinstance(given, str) and regex.compile(given) is not None
    except regex.error:
        return False


def _is_defined(given: object, root: Schema) -> bool:
    known = root.get("$defs")
    return isinstance(known, Mapping) and given in [REFERENCE + str(name) for name in known]


_NUMBER = (_is_number, "a number")
_COUNT = (_is_count, "a whole number from 0 on")
_LIST = (_is_filled_list, "a list with at least one member")
_MAPPING = (lambda given: isinstance(given, Mapping), "a mapping from names to schemas")

NEEDED: Mapping[str, tuple[Callable[[Given], bool], str]] = {
    "type": (_are_types, f"one of {', '.join(TYPES)}, or a list of them"),
    "required": (_are_names, "a list of names"),
    "pattern": (_is_pattern, "a regular expression"),
    "uniqueItems": (lambda given: isinstance(given, bool), "true or false"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength"), _COUNT),
    **dict.fromkeys(("enum", *LISTS_OF_SCHEMAS), _LIST),
    **dict.fromkeys(MAPS_OF_SCHEMAS, _MAPPING),
}
"""What a keyword's value must be: a check, and the same in words."""
