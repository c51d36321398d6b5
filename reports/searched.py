"""What a method's search tried: each setting as an axis, and each trial as a point on it.

Optuna is not asked: the study says the ranges and the records say the values, so that a report needs neither. Places
on an axis run from 0 to 1, on a logarithmic range in equal ratios, so that one rule serves every setting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from reports.gather import Gathered, MethodRecords
from reports.settings import leaf_of
from sweep.record import TrialRecord
from sweep.spec import Dimension, ParamValue, StudySpec

Member = TypeVar("Member")

LOG_LISTED = 4.0
"""Listed numbers whose largest is this many times their smallest are spaced by ratio."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One searched setting."""

    name: str
    """Dotted name."""
    dimension: Dimension
    """Where the search may choose from."""

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return leaf_of(self.name)

    @property
    def levels(self) -> tuple[ParamValue, ...]:
        """The choices, numbers in their order; none for a range."""
        values = self.dimension.values or ()
        return tuple(sorted(values, key=_as_number)) if self.is_numeric else values

    @property
    def is_numeric(self) -> bool:
        """Whether values have an order and a distance."""
        return self.dimension.values is None or all(_is_number(value) for value in self.dimension.values)

    @property
    def is_log(self) -> bool:
        """Whether equal distances are equal ratios."""
        ends = self._ends
        if ends is None or ends[0] <= 0:
            return False
        return self.dimension.log if self.dimension.values is None else ends[1] / ends[0] >= LOG_LISTED

    @property
    def can_vary(self) -> bool:
        """Whether there is anything to choose."""
        values = self.dimension.values
        return len(set(values)) > 1 if values is not None else self.dimension.min != self.dimension.max

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest number; for names, the first and the last place."""
        return self._ends or (0.0, float(max(1, len(self.levels) - 1)))

    def number(self, value: ParamValue) -> float:
        """The value as a number: itself, or its place among the names."""
        return _as_number(value) if self.is_numeric else float(self.levels.index(value))

    def place(self, value: ParamValue) -> float:
        """Where the value lies between the ends, from 0 to 1."""
        low, high = self.ends
        at = self.number(value)
        if low == high:
            return 0.5
        return math.log(at / low) / math.log(high / low) if self.is_log else (at - low) / (high - low)

    def contains(self, value: ParamValue) -> bool:
        """Whether the value has a place on the axis; a range may have been narrowed since, and does not count."""
        if not self.is_numeric:
            return value in self.levels
        return _is_number(value) and math.isfinite(_as_number(value)) and (not self.is_log or _as_number(value) > 0)

    @property
    def _ends(self) -> tuple[float, float] | None:
        if not self.is_numeric:
            return None
        if self.dimension.values is not None:
            numbers = [_as_number(value) for value in self.dimension.values]
            return min(numbers), max(numbers)
        low, high = self.dimension.min, self.dimension.max
        return (0.0, 1.0) if low is None or high is None else (float(low), float(high))


@dataclass(frozen=True, slots=True)
class Tried:
    """A complete trial with its objective."""

    record: TrialRecord
    objective: float


@dataclass(frozen=True, slots=True)
class Search:
    """One method's axes, and the trials that have a place on all of them."""

    method: MethodRecords
    axes: tuple[Axis, ...]
    tried: tuple[Tried, ...]
    """By number."""
    maximizes: bool

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def places(self, axis: Axis) -> list[float]:
        """Each trial's place on an axis."""
        return [axis.place(one.record.config.params[axis.name]) for one in self.tried]

    def merits(self) -> list[float]:
        """Each trial's objective, turned so that more is better."""
        return [one.objective if self.maximizes else -one.objective for one in self.tried]

    def ordered(self) -> list[Tried]:
        """The trials, the best first; of equals the earlier."""
        sign = -1 if self.maximizes else 1
        return sorted(self.tried, key=lambda one: (sign * one.objective, one.record.config.number))


def searches(gathered: Gathered) -> list[Search]:
    """Each method's search, in the study file's order."""
    return [search_of(method, gathered.spec) for method in gathered.methods]


def search_of(method: MethodRecords, spec: StudySpec) -> Search:
    """One method's axes and complete trials; a reused trial ran no second time and is left out."""
    names = sorted({name for record in method.search for name in record.config.params})
    found = [Axis(name, spec.search_space[name]) for name in names if name in spec.search_space]
    axes = tuple(axis for axis in found if axis.can_vary)
    tried = tuple(
        Tried(record, record.objective)
        for record in method.search
        if record.reused_from is None
        and record.state == "COMPLETE"
        and record.objective is not None
        and math.isfinite(record.objective)
        and _has_places(record, axes)
    )
    return Search(method, axes, tried, spec.objective.direction == "maximize")


def thinned(members: Sequence[Member], limit: int) -> list[Member]:
    """So many of an ordered sequence, evenly spaced, the first and the last among them."""
    if len(members) <= limit:
        return list(members)
    if limit == 1:
        return [members[0]]
    return [members[round(place * (len(members) - 1) / (limit - 1))] for place in range(limit)]


def _has_places(record: TrialRecord, axes: Sequence[Axis]) -> bool:
    params = record.config.params
    return all(axis.name in params and axis.contains(params[axis.name]) for axis in axes)


def _is_number(value: ParamValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: ParamValue) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
