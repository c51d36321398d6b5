"""Put `a.b=c` from the command line over a study file's values.

Names of methods and searched keys hold dots themselves, so a dotted name is walked by the longest key that is there.
"""

from collections.abc import Sequence
from pathlib import Path

from sweep.addresses import masked
from sweep.errors import Problem, StudyFileError
from sweep.spec import Dimension
from sweep.study_file.document import Document, Origin, Place, parse
from sweep.study_file.names import dotted


def apply_override(document: Document, text: str) -> None:
    """Set one value in place; what is wrong with the override is added to the document's problems."""
    source = Path(f"--set {masked(' '.join(text.split()))}")
    name, equals, value_text = text.partition("=")
    steps = name.strip().split(".")
    if not equals or not all(steps):
        message = "an override is written a.b=c, such as training.learning_rate=1e-4."
        document.problems.append(Problem(source, None, message))
        return
    try:
        parsed = parse(value_text, source)
    except StudyFileError as error:
        document.problems.extend(Problem(source, None, problem.message) for problem in error.problems)
        return
    document.problems.extend(Problem(source, None, problem.message) for problem in parsed.problems)
    _set(document, steps, parsed.value, Origin(source, None))


def _set(document: Document, steps: Sequence[str], value: object, origin: Origin) -> None:
    target: object = document.value
    place: Place = ()
    while True:
        key, steps = _next_key(target, place, steps)
        if key is None:
            where = f"{dotted(place)} is no mapping" if not isinstance(target, list) else f"{dotted(place)} is a list"
            message = f"{where}, so {steps[0]!r} cannot be set in it."
            document.problems.append(Problem(origin.path, None, message))
            return
        place = (*place, key)
        if not steps:
            break
        target = _descend(document, target, place, origin)
    for written in [written for written in document.origins if written[: len(place)] == place]:
        del document.origins[written]
    document.origins[place] = origin
    target[key] = value  # type: ignore[index] # `_next_key` found the key to fit


def _next_key(target: object, place: Place, steps: Sequence[str]) -> tuple[str | int | None, Sequence[str]]:
    """The next key on the way, of as many steps as it takes, and the steps that remain."""
    if isinstance(target, list):
        fits = steps[0].isdecimal() and int(steps[0]) < len(target)
        return (int(steps[0]) if fits else None), steps[1:] if fits else steps
    if not isinstance(target, dict):
        return None, steps
    for length in range(len(steps), 0, -1):
        if (key := ".".join(steps[:length])) in target:
            return key, steps[length:]
    length = _new_key_length(place, steps)
    return ".".join(steps[:length]), steps[length:]


def _new_key_length(place: Place, steps: Sequence[str]) -> int:
    """Steps that make up a key that is not there yet: a searched key is a dotted name in itself."""
    if place == ("search_space",):
        return len(steps) - 1 if len(steps) > 1 and steps[-1] in Dimension.model_fields else len(steps)
    is_starting_point = place[:1] == ("starting_points",) and isinstance(place[-1], int)
    return len(steps) if is_starting_point else 1


def _descend(document: Document, target: object, place: Place, origin: Origin) -> object:
    """The value at a place; a mapping is made where there is nothing."""
    if isinstance(target, list) and isinstance(place[-1], int):
        return target[place[-1]]
    if isinstance(target, dict):
        if target.get(place[-1]) is None:
            target[place[-1]] = {}
            document.origins.setdefault(place, origin)
        return target[place[-1]]
    return None
