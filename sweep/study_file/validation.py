"""Check a file's values one by one, and mend them enough for the rules that span several keys to be checked too.

Every problem has to be reported at once, but rules need a whole study. So what is wrong is left out after it has been
reported, and findings that rest on something left out are dropped: they might be no more than its echo.
"""

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sweep.study_file.document import Document, Place
from sweep.study_file.keys import allowed_at, choices_at, keys_of
from sweep.study_file.names import correction, dotted, intended
from sweep.study_file.schema import WrittenStudy

_SEARCHED_KEY_LENGTH = 2
"""`search_space` and the dotted name, which is one step."""

_ATTEMPTS = 4
_PLACEHOLDERS: Mapping[Place, object] = {
    ("name",): "unnamed",
    ("model",): {"model_name_or_path": "unnamed"},
    ("model", "model_name_or_path"): "unnamed",
    ("data",): {"train": "unnamed"},
    ("data", "train"): "unnamed",
    ("methods",): {"lora": {}},
}
"""What stands in for required values, so that the rest can be checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place; `depends` are other places that it would be wrong to judge by if they are broken."""

    place: Place
    message: str
    depends: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Validated:
    """A study to check rules on, and the places whose values are not the user's."""

    study: WrittenStudy | None
    broken: frozenset[Place]

    def rests_on_broken(self, finding: Finding) -> bool:
        """Whether a finding may be the echo of a problem that is already reported."""
        return any(
            place[: len(broken)] == broken or broken[: len(place)] == place
            for place in (finding.place, *finding.depends)
            for broken in self.broken
        )


@dataclass(frozen=True, slots=True)
class _Fault:
    place: Place
    message: str
    guess: Place | None = None
    """Where an unknown key's value was meant to be."""


def validate(document: Document) -> Validated:
    """Add every value's problem to the document, and return the study without them."""
    tree: dict[str, object] = copy.deepcopy(document.value)
    broken: set[Place] = set()
    for attempt in range(_ATTEMPTS):
        study, faults = _attempt(tree)
        if study is not None:
            return Validated(study, frozenset(broken))
        for fault in faults:
            if attempt == 0:
                document.problems.append(document.problem(fault.place, fault.message))
            broken.add(_mend(tree, fault.place))
            broken.update([] if fault.guess is None else [fault.guess])
    return Validated(None, frozenset(broken))


def _attempt(tree: dict[str, object]) -> tuple[WrittenStudy | None, list[_Fault]]:
    unreadable = list(_unreadable(tree, ()))
    if unreadable:
        return None, unreadable + _faults(_without(tree, unreadable))
    try:
        # JSON in strict mode is what takes lists for tuples, and takes no text for a number and no 1 for true.
        return WrittenStudy.model_validate_json(json.dumps(tree), strict=True), []
    except ValidationError as error:
        return None, _describe(tree, error)


def _faults(tree: dict[str, object]) -> list[_Fault]:
    return _attempt(tree)[1]


def _without(tree: dict[str, object], faults: list[_Fault]) -> dict[str, object]:
    mended: dict[str, object] = copy.deepcopy(tree)
    for fault in faults:
        _mend(mended, fault.place)
    return mended


def _unreadable(value: object, place: Place) -> Iterator[_Fault]:
    """Values that JSON has no room for."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _unreadable(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unreadable(inner, (*place, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield _Fault(place, f"{dotted(place)} is {value}; it must be a finite number.")
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield _Fault(place, f"{dotted(place)} holds half a character (a lone surrogate); write the character itself.")
    elif isinstance(value, int) and abs(value) >= 2**63:
        yield _Fault(place, f"{dotted(place)} is too large; whole numbers have at most 63 bits.")


def _describe(tree: dict[str, object], error: ValidationError) -> list[_Fault]:
    """One fault a place; an alternative that failed inside another value is that value's affair."""
    faults: dict[Place, _Fault] = {}
    for detail in error.errors(include_url=False, include_input=False):
        fault = _fault(tree, detail)
        faults.setdefault(fault.place, fault)
    inner = {place[:end] for place in faults for end in range(len(place))}
    # A misspelled required key is not missing as well.
    guessed = {fault.guess for fault in faults.values()}
    return [fault for place, fault in faults.items() if place not in inner | guessed]


def _fault(tree: dict[str, object], detail: ErrorDetails) -> _Fault:
    place = _existing(tree, detail["loc"])
    if detail["type"] == "extra_forbidden":
        advice, guess = correction(place)
        section = f" in {dotted(place[:-1])}" if len(place) > 1 else ""
        return _Fault(place, f"unknown key {place[-1]!r}{section}. {advice}", guess)
    if detail["type"] == "missing":
        missing = (*place, detail["loc"][-1])
        return _Fault(missing, f"{dotted(missing)} is missing; it must be {allowed_at(missing)}.")
    if detail["loc"][-1:] == ("[key]",):
        rule = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
        return _Fault(place, f"{place[-1]!r} cannot be a name; a name has {rule}.")
    value = _value_at(tree, place)
    return _Fault(place, f"{dotted(place)} {found(value)}; it must be {allowed_at(place)}.{_hint(place, value)}")


def found(value: object) -> str:
    """What stands in the file, in words."""
    if value is None:
        return "is empty"
    if isinstance(value, bool):
        return f"is {str(value).lower()}"
    if isinstance(value, list | tuple | dict):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"is a {kind}" if value else f"is an empty {kind}"
    text = repr(value)
    return f"is {text}" if len(text) <= _LONGEST_QUOTE else f"is {text[:_LONGEST_QUOTE]}…"


_LONGEST_QUOTE = 60


def _hint(place: Place, value: object) -> str:
    allowed = allowed_at(place)
    if isinstance(value, str):
        return _hint_for_text(place, value, allowed)
    if isinstance(value, list) and place[0] == "search_space":
        return " Write the choices as {values: [...]}."
    is_number = isinstance(value, int | float)
    return " Quote it to make it text." if is_number and allowed.startswith(("text", "a name")) else ""


def _hint_for_text(place: Place, value: str, allowed: str) -> str:
    near = intended(value, choices_at(place))
    if near is not None:
        return f" Did you mean {near!r}?"
    if place in _PLACEHOLDERS and len(keys_of(place)) > 0:
        return f" Write {place[0]}: {{{keys_of(place)[0]}: {value}}}."
    if allowed.startswith("a list"):
        return f" Write [{value}]."
    try:
        float(value)
    except ValueError:
        return ""
    return " Write the number without quotes." if "number" in allowed else ""


def _existing(tree: object, location: tuple[str | int, ...]) -> Place:
    """The part of pydantic's location that is in the file: behind it come names of alternatives."""
    place: Place = ()
    for step in location:
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
            place = (*place, step)
            continue
        if not (isinstance(tree, list) and isinstance(step, int) and step < len(tree)):
            break
        tree = tree[step]
        place = (*place, step)
    return place


def _value_at(tree: object, place: Place) -> object:
    for step in place:
        tree = tree[step]  # type: ignore[index] # `_existing` walked here before
    return tree


def _mend(tree: dict[str, object], place: Place) -> Place:
    """Leave a value out, or the list around it, whose other items would move. Return what was left out."""
    numbered = next((index for index, step in enumerate(place) if isinstance(step, int)), len(place))
    place = place[:numbered]
    while place not in _PLACEHOLDERS and _existing(tree, place) != place:
        place = place[:-1]
    target: object = tree
    for step in place[:-1]:
        target = target[step] if isinstance(target, dict) else None
    if isinstance(target, dict) and place:
        removed = target.pop(place[-1], None)
        if place in _PLACEHOLDERS:
            target[place[-1]] = copy.deepcopy(_PLACEHOLDERS[place])
        if place[0] == "search_space" and len(place) == _SEARCHED_KEY_LENGTH and removed is not None:
            # The key can still be judged, whatever was written behind it.
            target[place[-1]] = {}
            return (*place, "values")
    return place
