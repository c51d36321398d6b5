"""The ends of a search space: which of its configs need least and most of something.

A quantity such as memory grows or falls with each key whatever the others are, so each key is looked at by itself. That
takes a handful of configs where all combinations would be thousands.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution
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
    amounts = [amount(config) for config in configs(own, method, searched)] or [amount(own)]
    mean = sum(amounts) / len(amounts)
    if math.prod(map(len, searched.values())) > MOST_POINTS:
        # The least and the most may be among those that were left out.
        of = ends(spec, method, amount)
        amounts += [amount(of.least), amount(of.most)]
    # A mean of equal amounts may be off by rounding.
    return min(amounts), min(max(mean, min(amounts)), max(amounts)), max(amounts)


def candidates(dimension: Dimension) -> tuple[ParamValue, ...]:
    """All values of a choice; of a range, both ends and its middle, of those that the search can choose."""
    range_ = space.distribution("", dimension)
    if dimension.values is not None or not isinstance(range_, IntDistribution | FloatDistribution):
        return dimension.values or ()
    low, high = range_.low, range_.high
    middle = math.sqrt(low * high) if range_.log else (low + high) / 2
    if range_.step is not None:
        middle = low + round((middle - low) / range_.step) * range_.step
    return tuple(dict.fromkeys((low, middle, high)))


def filled(own: MethodSpec, method: str, params: Mapping[str, ParamValue]) -> MethodSpec | None:
    """The method with params put over its settings; none where they do not go together."""
    try:
        return fill(own, method, params)
    except ValidationError:
        return None


def configs(own: MethodSpec, method: str, searched: Mapping[str, tuple[ParamValue, ...]]) -> Iterator[MethodSpec]:
    """The method with every combination of values, or as many at equal distances; without those that do not go."""
    count = math.prod(len(values) for values in searched.values())
    # The first and the last, and as many between them at equal distances, where there are too many.
    taken = range(count) if count <= MOST_POINTS else [_spaced(place, count) for place in range(MOST_POINTS)]
    for place in taken:
        config = filled(own, method, _combination(searched, place))
        if config is not None:
            yield config


def _spaced(place: int, count: int) -> int:
    return round(place * (count - 1) / (MOST_POINTS - 1))


def _combination(searched: Mapping[str, tuple[ParamValue, ...]], place: int) -> dict[str, ParamValue]:
    """One of all combinations, by its number."""
    params = {}
    for name, values in searched.items():
        place, chosen = divmod(place, len(values))
        params[name] = values[chosen]
    return params
