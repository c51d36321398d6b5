"""Which keys a study file may have, and what each may hold, in words.

All of it is read off the spec classes, so that a new key needs no second entry here.
"""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import BaseModel

from evals.spec import ADDRESS, BACKEND
from sweep.spec import Dimension, Params, ParamValue, Scalar
from sweep.study_file.document import Place
from sweep.study_file.schema import WrittenMethod, WrittenStudy


def keys_of(place: Place) -> list[str]:
    """Keys that a mapping at a place may have; none where they are free."""
    annotation, _ = shape_at(place)
    for arm in _arms(annotation):
        if isinstance(arm, type) and issubclass(arm, BaseModel):
            return list(arm.model_fields)
    return []


def shape_at(place: Place) -> tuple[object, tuple[object, ...]]:
    """Type and bounds of the value at a place; None where no value can be."""
    shape: tuple[object, tuple[object, ...]] = (WrittenStudy, ())
    for step in place:
        shape = next((inner for arm in _arms(shape[0]) if (inner := _inside(arm, step)) is not None), (None, ()))
    return shape


def _inside(annotation: object, step: str | int) -> tuple[object, tuple[object, ...]] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return None if field is None else (field.annotation, tuple(field.metadata))
    if get_origin(annotation) is tuple and isinstance(step, int):
        return get_args(annotation)[0], ()
    if _is_mapping(annotation) and isinstance(step, str):
        return get_args(annotation)[1], ()
    return None


def _arms(annotation: object) -> Iterator[object]:
    """The members of a union, unwrapped; anything else is its own only member."""
    if get_origin(annotation) in {Union, UnionType}:
        for arm in get_args(annotation):
            yield from _arms(arm)
    elif get_origin(annotation) is Annotated:
        yield from _arms(get_args(annotation)[0])
    else:
        yield annotation


def _is_mapping(annotation: object) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def choices_at(place: Place) -> list[str]:
    """Words that a value may be, where it is one of a few."""
    annotation, _ = shape_at(place)
    literals = (get_args(arm) for arm in _arms(annotation) if get_origin(arm) is Literal)
    return [word for words in literals for word in words]


def allowed_at(place: Place) -> str:
    """What a value may be, in words: `a number above 0`."""
    if place in _SHORT_FORMS:
        return _SHORT_FORMS[place]
    annotation, metadata = shape_at(place)
    if annotation in _WHOLE:
        return _WHOLE[annotation]
    kinds = list(_arms(annotation))
    if float in kinds:
        kinds = [kind for kind in kinds if kind is not int]
    phrases = [_phrase(kind, metadata) for kind in kinds if kind is not NoneType]
    return " or ".join(phrases) + (", or left out" if NoneType in kinds else "")


def _phrase(kind: object, metadata: tuple[object, ...]) -> str:
    if kind in _WORDS:
        word = _WORDS[kind]
        patterns = [pattern for bound in metadata if (pattern := getattr(bound, "pattern", None))]
        if kind is str and patterns:
            return _PATTERNS.get(patterns[0], _NAME)
        return word + (_bounds(metadata) if kind in {int, float} else "")
    if get_origin(kind) is Literal:
        words = [repr(word) for word in get_args(kind)]
        return ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]
    if get_origin(kind) is tuple:
        return "a list of names" if get_args(kind)[0] is str else "a list" + _bounds(metadata)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a mapping with keys such as {', '.join(list(kind.model_fields)[:3])}"
    return "a mapping" + _bounds(metadata)


_WORDS: Mapping[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_NAME = "a name of letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
_PATTERNS: Mapping[str, str] = {
    ADDRESS: "an address such as https://host/v1, without a password or a key in it",
    BACKEND: "a back end of transformers' own, such as sdpa or eager",
}
_SHORT_FORMS: Mapping[Place, str] = {("methods",): "a list of methods, or a mapping from their names to settings"}
_WHOLE: Mapping[object, str] = {
    Scalar: "a single value",
    ParamValue: "a single value or a list of names",
    Params: "a mapping of searched keys to values",
}


def _bounds(metadata: tuple[object, ...]) -> str:
    said = []
    for bound in metadata:
        match bound:
            case Gt(gt=end):
                said.append(f"above {end}")
            case Ge(ge=end):
                said.append(f"from {end} on")
            case Lt(lt=end):
                said.append(f"below {end}")
            case MinLen(min_length=count):
                said.append(f"of at least {count}")
            case _:
                continue
    return f" {', '.join(said)}" if said else ""


def _index(model: type[BaseModel], section: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in model.model_fields.items():
        yield name, section
        for arm in _arms(field.annotation):
            inner = WrittenMethod if _is_mapping(arm) and get_args(arm)[1] is WrittenMethod else arm
            below = (*section, name, "NAME") if inner is not arm else (*section, name)
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Dimension:
                yield from _index(inner, below)


def _sections_by_key() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Where each key belongs. A method's training keys are the study's, and are named there."""
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, section in _index(WrittenStudy, ()):
        if section != ("methods", "NAME", "training"):
            found[name] = (*found.get(name, ()), section)
    return found


SECTIONS_BY_KEY = _sections_by_key()
"""Sections that have a key of this name, from the top; `NAME` stands for a method's."""
