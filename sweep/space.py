"""What a method's search may choose from, as Optuna's distributions, in one fixed order.

A key that begins with `training.` applies to every method, one that begins with `methods.NAME.` to that method alone
and before the general one. Optuna stores plain values only, so a choice that is a list goes in as its JSON text.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.errors import InputError
from sweep.spec import Dimension, MethodSpec, Params, ParamValue, Scalar, StudySpec

Dimensions = Mapping[str, Dimension]
"""A method's searched keys by dotted name, sorted."""

GENERAL_PREFIX = "training."


def for_method(spec: StudySpec, method: str) -> dict[str, Dimension]:
    """The searched keys that apply to one method; an adapter's keys are left out where there is no adapter."""
    own_prefix = f"methods.{method}."
    return {
        name: dimension
        for name, dimension in sorted(spec.search_space.items())
        if (
            name.startswith(own_prefix)
            or (name.startswith(GENERAL_PREFIX) and own_prefix + name not in spec.search_space)
        )
        and _has_key(spec.methods[method], name.removeprefix(own_prefix))
    }


def check(spec: StudySpec) -> None:
    """Raise InputError where a method's search could not be carried out: a range, a starting point, an endless grid."""
    for method in spec.methods:
        dimensions = for_method(spec, method)
        distributions(dimensions)
        starting_points(spec, method)
        if spec.sampler.name == "grid" and size(dimensions) is None:
            raise InputError(f"sampler.name: a grid needs `values` or a `step` for every key that {method} searches.")


def sample(trial: optuna.Trial, dimensions: Dimensions) -> dict[str, ParamValue]:
    """Ask the trial's sampler for every key, in the fixed order."""
    return {name: decode(dimension, _suggest(trial, name, dimension)) for name, dimension in dimensions.items()}


def distributions(dimensions: Dimensions) -> dict[str, BaseDistribution]:
    """Each key's Optuna distribution. Raises InputError where a range cannot be one."""
    return {name: distribution(name, dimension) for name, dimension in dimensions.items()}


def distribution(name: str, dimension: Dimension) -> BaseDistribution:
    """One key's Optuna distribution: categorical for values, integers for a range between two integers."""
    if dimension.values is not None:
        return CategoricalDistribution([encode(value) for value in dimension.values])
    low, high = _range(name, dimension)
    if dimension.log and (low <= 0 or dimension.step is not None):
        raise InputError(f"search_space.{name}: a log range starts above 0 and has no step; drop `log` or the other.")
    if _is_integer(dimension):
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def encode(value: ParamValue) -> Scalar:
    """A choice as Optuna stores it: a list becomes its JSON text."""
    return json.dumps(value) if isinstance(value, tuple) else value


def decode(dimension: Dimension, stored: Scalar) -> ParamValue:
    """What Optuna stored, as the key's own value. A text that only looks like a list stays a text."""
    for value in dimension.values or ():
        if isinstance(value, tuple) and encode(value) == stored:
            return value
    return stored


def encode_params(params: Params) -> dict[str, Scalar]:
    """Params as Optuna stores them."""
    return {name: encode(value) for name, value in params.items()}


def contains(dimension: Dimension, value: ParamValue) -> bool:
    """Whether a key may take this value: one of the values, or within the range and on its steps."""
    if dimension.values is not None:
        return any(_same(value, choice) for choice in dimension.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if _is_integer(dimension) and value != int(value):
        return False
    low, high = _range("", dimension)
    if not low <= value <= high:
        return False
    step = _step(dimension)
    return step is None or (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step)) == 0


def size(dimensions: Dimensions) -> int | None:
    """Number of distinct points, or None where a key is continuous."""
    counts = [_count(name, dimension) for name, dimension in dimensions.items()]
    known = [count for count in counts if count is not None]
    return math.prod(known) if len(known) == len(counts) else None


def default_point(spec: StudySpec, method: str) -> dict[str, ParamValue]:
    """The method's own settings for the searched keys, without those that the search may not choose."""
    dimensions = for_method(spec, method)
    own = {name: _configured(spec.methods[method], name.removeprefix(f"methods.{method}.")) for name in dimensions}
    return {
        name: _canonical(dimensions[name], value) for name, value in own.items() if contains(dimensions[name], value)
    }


def starting_points(spec: StudySpec, method: str) -> list[dict[str, ParamValue]]:
    """Points to try first: the method's own settings, then the study's. Raises InputError for one outside the space."""
    dimensions = for_method(spec, method)
    points = [default_point(spec, method)]
    for place, given in enumerate(spec.starting_points.get(method, ())):
        for name, value in given.items():
            if name not in dimensions:
                known = ", ".join(dimensions) or "none"
                raise InputError(f"starting_points.{method}[{place}]: {name} is not searched. Searched keys: {known}.")
            if not contains(dimensions[name], value):
                raise InputError(
                    f"starting_points.{method}[{place}]: {name} = {value} lies outside search_space.{name}."
                )
        points.append({name: _canonical(dimensions[name], value) for name, value in given.items()})
    return [point for place, point in enumerate(points) if point and point not in points[:place]]


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Scalar:
    chosen = distribution(name, dimension)
    if isinstance(chosen, CategoricalDistribution):
        return trial.suggest_categorical(name, chosen.choices)
    if isinstance(chosen, IntDistribution):
        return trial.suggest_int(name, chosen.low, chosen.high, step=chosen.step, log=chosen.log)
    assert isinstance(chosen, FloatDistribution)  # noqa: S101 - the third of three, for the type checker
    return trial.suggest_float(name, chosen.low, chosen.high, step=chosen.step, log=chosen.log)


def _is_integer(dimension: Dimension) -> bool:
    ends = (dimension.min, dimension.max, 1 if dimension.step is None else dimension.step)
    return all(isinstance(end, int) for end in ends)


def _range(name: str, dimension: Dimension) -> tuple[float, float]:
    """Both ends, the upper one moved down onto the last step: Optuna would do so with a warning."""
    if dimension.min is None or dimension.max is None or dimension.min > dimension.max:
        raise InputError(f"search_space.{name}: give `values`, or `min` and `max` with min not above max.")
    step = _step(dimension)
    if step is None:
        return dimension.min, dimension.max
    low = Decimal(str(dimension.min))
    steps = (Decimal(str(dimension.max)) - low) // Decimal(str(step))
    return dimension.min, float(low + steps * Decimal(str(step)))


def _same(value: ParamValue, choice: ParamValue) -> bool:
    # 32 and 32.0 are one choice; 1 and true are two, though Python calls them equal.
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)


def _canonical(dimension: Dimension, value: ParamValue) -> ParamValue:
    """A value that the key may take, as the sampler itself would give it."""
    if dimension.values is not None:
        return next(choice for choice in dimension.values if _same(value, choice))
    assert isinstance(value, int | float)  # noqa: S101 - a range contains nothing else, for the type checker
    return int(value) if _is_integer(dimension) else float(value)


def _step(dimension: Dimension) -> float | None:
    return 1 if dimension.step is None and _is_integer(dimension) else dimension.step


def _count(name: str, dimension: Dimension) -> int | None:
    if dimension.values is not None:
        return len(set(dimension.values))
    low, high = _range(name, dimension)
    step = _step(dimension)
    return None if step is None and low != high else round((high - low) / (step or 1)) + 1


def _has_key(method: MethodSpec, key: str) -> bool:
    return not key.startswith("peft.") or method.peft is not None


def _configured(method: MethodSpec, key: str) -> ParamValue:
    value: object = method
    for part in key.split("."):
        value = getattr(value, part, None)
    return value if value is None or isinstance(value, bool | int | float | str | tuple) else None
