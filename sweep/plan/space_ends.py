"""The ends of a search space: which of its configs need least and most of something.

A quantity such as memory grows or falls with each key whatever the others are, so each key is looked at by itself. That
takes a handful of configs where all combinations would be thousands.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from pydantic import ValidationError

from sweep import space
from sweep.config import fill
from sweep.spec import Dimension, MethodSpec, Params, ParamValue, StudySpec

MOST_POINTS = 4096
"""Combinations that a mean is taken over, at most."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Three configs of a method."""

    least: MethodSpec
    own: MethodSpec
    """As the study file has it."""
    most: MethodSpec
    most_params: Params
    """What the search has to choose for the most."""


def ends(spec: StudySpec, method: str, amount: Callable[[MethodSpec], float]) -> Ends:
    """The configs of a method's space with the least and the most of an amount."""
    own = spec.methods[method]
    least: dict[str, ParamValue] = {}
    most: dict[str, ParamValue] = {}
    for name, dimension in space.for_method(spec, method).items():
        amounts = [
            (amount(config), value)
            for value in candidates(dimension)
            if (config := filled(own, method, {name: value})) is not None
        ]
        if amounts and min(a for a, _ in amounts) < max(a for a, _ in amounts):
            least[name] = min(amounts, key=lambda pair: pair[0])[1]
            most[name] = max(amounts, key=lambda pair: pair[0])[1]
    return Ends(filled(own, method, least) or own, own, filled(own, method, most) or own, most)


def spread(
    spec: StudySpec, method: str, keys: frozenset[str], amount: Callable[[MethodSpec], float]
) -> tuple[float, float, float]:
    """Least, mean and most of an amount over the searched keys that bear on it, every combination alike."""
    own = spec.methods[method]
    searched = {
        name: candidates(dimension)
        for name, dimension in space.for_method(spec, method).items()
        if name.removeprefix(f"methods.{method}.") in keys
    }
    amounts = [amount(config) for config in _configs(own, method, searched)] or [amount(own)]
    return min(amounts), sum(amounts) / len(amounts), max(amounts)


def candidates(dimension: Dimension) -> tuple[ParamValue, ...]:
    """All values of a choice; of a range, both ends and its middle."""
    if dimension.values is not None:
        return dimension.values
    assert dimension.min is not None  # noqa: S101 - a dimension has values or both ends, as the study file checks
    assert dimension.max is not None  # noqa: S101
    low, high = dimension.min, dimension.max
    middle = math.sqrt(low * high) if dimension.log and low > 0 else (low + high) / 2
    whole = isinstance(low, int) and isinstance(high, int) and not isinstance(dimension.step, float)
    return tuple(dict.fromkeys((low, round(middle) if whole else middle, high)))


def filled(own: MethodSpec, method: str, params: Mapping[str, ParamValue]) -> MethodSpec | None:
    """The method with params put over its settings; none where they do not go together."""
    try:
        return fill(own, method, params)
    except ValidationError:
        return None


def _configs(own: MethodSpec, method: str, searched: Mapping[str, tuple[ParamValue, ...]]) -> Iterator[MethodSpec]:
    combinations = product(*searched.values())
    for _, values in zip(range(MOST_POINTS), combinations, strict=False):
        config = filled(own, method, dict(zip(searched, values, strict=True)))
        if config is not None:
            yield config
