"""Rules on what is searched: which keys, which values of them, and which points to begin with."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal

from sweep.spec import Dimension, ParamValue, StudySpec
from sweep.study_file.document import Place
from sweep.study_file.keys import allowed_at
from sweep.study_file.names import nearest
from sweep.study_file.schema import WrittenStudy
from sweep.study_file.search_keys import Refusal, dimensions_of, take_apart
from sweep.study_file.validation import Finding, found

_THE_KEY_ITSELF = ""


def keys_can_be_searched(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Every searched key is one that trials may differ in."""
    for key in spec.search_space:
        refusal = take_apart(spec, key)
        if isinstance(refusal, Refusal):
            # The key is wrong whatever its values are, so the finding does not rest on them.
            yield Finding(("search_space", key, _THE_KEY_ITSELF), refusal.message, refusal.depends)


def dimensions_are_whole(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Every dimension is either a list of values or a range with two ends."""
    for key, dimension in spec.search_space.items():
        place = ("search_space", key)
        for message in _shape_messages(dimension):
            yield Finding(place, f"{key}: {message}")


def values_fit_their_keys(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Every value that may be drawn is one that the key may have."""
    for key, dimension in spec.search_space.items():
        searched = take_apart(spec, key)
        if isinstance(searched, Refusal):
            continue
        place = ("search_space", key)
        for step, value in _drawn(dimension):
            if not searched.takes(value):
                allowed = allowed_at(searched.place)
                yield Finding((*place, *step), f"{key} {found(value)} here; it must be {allowed}.")
                break
        if (dimension.min, dimension.max) == (0, 1) and searched.is_float and not _has_float(dimension):
            message = f"{key}: a range from 0 to 1 draws only these two; write 0.0 and 1.0 for all between."
            yield Finding(place, message)


def sampler_suits_space(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """The sampler can draw from every method's dimensions."""
    for name in spec.methods:
        searched = dimensions_of(spec, name)
        depends = tuple(("search_space", key) for key in searched)
        place = ("sampler", "name")
        if spec.sampler.name == "grid":
            for key, dimension in searched.items():
                if dimension.values is None and dimension.step is None and _has_float(dimension):
                    message = (
                        f"sampler grid tries every value, and {key} is a range without step; give it step or values."
                    )
                    yield Finding(place, message, depends)
        numbers = [dimension for dimension in searched.values() if dimension.values is None]
        if spec.sampler.name == "cmaes" and searched and not numbers:
            message = f"sampler cmaes needs a range, and method {name!r} searches only values; use gp or tpe."
            yield Finding(place, message, depends)


def starting_points_are_searched(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Points to try first belong to a method and lie in its search space."""
    for name, points in spec.starting_points.items():
        place = ("starting_points", name)
        if name not in spec.methods:
            near = nearest(name, spec.methods)
            hint = f"Did you mean {near!r}?" if near else f"Methods: {', '.join(spec.methods)}."
            yield Finding(
                place, f"starting_points names no method of this study, {name!r}. {hint}", (("methods", name),)
            )
            continue
        searched = dimensions_of(spec, name)
        for index, point in enumerate(points):
            for key, value in point.items():
                message = _point_message(name, searched, key, value)
                if message is not None:
                    depends = (("search_space", key), ("methods", name, "kind"))
                    yield Finding((*place, index, key), message, depends)


def _shape_messages(dimension: Dimension) -> Iterator[str]:
    low, high = dimension.min, dimension.max
    if dimension.values is not None:
        if low is not None or high is not None or dimension.step is not None or dimension.log:
            yield "has values and a range; keep one of them."
        texts = [json.dumps(value) for value in dimension.values]
        twice = next((text for index, text in enumerate(texts) if text in texts[:index]), None)
        if twice is not None:
            yield f"values holds {twice} twice."
    elif low is None or high is None:
        yield "must have values, or both min and max."
    elif low >= high:
        yield f"min {low} is not below max {high}."
    else:
        yield from _range_messages(dimension, low, high)


def _range_messages(dimension: Dimension, low: float, high: float) -> Iterator[str]:
    if dimension.log and low <= 0:
        yield f"a log range starts above 0, and min is {low}."
    if dimension.log and dimension.step is not None:
        yield "a log range has no step; drop log or step."
    elif dimension.step is not None and dimension.step > high - low:
        yield f"step {dimension.step} is wider than the range from {low} to {high}."


def _drawn(dimension: Dimension) -> Iterator[tuple[Place, ParamValue]]:
    for index, value in enumerate(dimension.values or ()):
        yield ("values", index), value
    low, high, step = dimension.min, dimension.max, dimension.step
    if low is not None and high is not None and dimension.values is None:
        # Ends that are whole numbers give none where the step, or the other end, is no whole number.
        is_float = _has_float(dimension)
        yield ("min",), float(low) if is_float else low
        yield ("max",), float(high) if is_float else high
        if step is not None and low + step <= high:
            yield ("step",), low + step


def _has_float(dimension: Dimension) -> bool:
    return any(isinstance(number, float) for number in (dimension.min, dimension.max, dimension.step))


def _point_message(method: str, searched: Mapping[str, Dimension], key: str, value: ParamValue) -> str | None:
    if key not in searched:
        near = nearest(key, searched)
        hint = f"Did you mean {near!r}?" if near else f"Searched: {', '.join(searched) or 'nothing'}."
        return f"starting_points.{method}: {key!r} is not searched for this method. {hint}"
    if not _contains(searched[key], value):
        return f"starting_points.{method}: {key} {found(value)} here, which lies outside its search space."
    return None


def _contains(dimension: Dimension, value: ParamValue) -> bool:
    if dimension.values is not None:
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in dimension.values
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or dimension.min is None or dimension.max is None:
        return False
    if not dimension.min <= value <= dimension.max:
        return False
    step = dimension.step or (None if _has_float(dimension) else 1)
    return step is None or (Decimal(str(value)) - Decimal(str(dimension.min))) % Decimal(str(step)) == 0


RULES = (
    keys_can_be_searched,
    dimensions_are_whole,
    values_fit_their_keys,
    sampler_suits_space,
    starting_points_are_searched,
)
