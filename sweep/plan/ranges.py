"""A number that is not known exactly: what it is at least, most likely and at most."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Range:
    """Three values of one quantity, in ascending order."""

    low: float
    expected: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.expected <= self.high:
            raise ValueError(f"{self.low}, {self.expected}, {self.high} do not ascend.")

    @classmethod
    def exactly(cls, value: float) -> Self:
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def across(cls, one: float, expected: float, other: float) -> Self:
        """Between two ends in whichever order, with an expected value that rounding may have put outside."""
        low, high = sorted((one, other))
        return cls(low, min(max(expected, low), high), high)

    def times(self, other: "Range") -> "Range":
        """A product of amounts that are not negative."""
        return Range(self.low * other.low, self.expected * other.expected, self.high * other.high)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.expected * factor, self.high * factor)


def total(ranges: Iterable[Range]) -> Range:
    """Sum of ranges, as if all were low or high together."""
    return sum(ranges, start=Range.exactly(0))
