"""Cells sort by what they stand for."""

import math

import pytest

from reports import wording
from reports.document import Cell
from reports.sorting import sort_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.617 ± 0.063", 0.617),
        ("0.489 to 0.731", 0.489),
        ("1,319", 1319.0),
        ("2e-4", 2e-4),
        ("4e-4*", 4e-4),
        ("12 %", 12.0),
        ("-0.5", -0.5),
        ("\u22120.5", -0.5),
        ("3, ± 0.017", 3.0),
        ("< 0.001", 0.001),
        ("inf", math.inf),
        ("1.5 USD", 1.5),
        ("all-linear", None),
        ("nan", None),
        ("\u2013", None),
        ("", None),
    ],
)
def test_a_text_sorts_by_the_number_that_it_begins_with(text: str, value: float | None) -> None:
    assert sort_value(text) == value


@pytest.mark.parametrize("seconds", [0.25, 7.0, 59.0, 61.0, 224.0, 3599.0, 3720.0, 90_000.0])
def test_a_duration_sorts_by_its_seconds(seconds: float) -> None:
    assert sort_value(wording.duration(seconds)) == pytest.approx(seconds, abs=30 if seconds > 3600 else 0.5)


@pytest.mark.parametrize("count", [0, 12, 980_000, 1_930_000_000, 2_500_000_000_000])
def test_a_size_sorts_by_its_bytes(count: int) -> None:
    assert sort_value(wording.size(count)) == pytest.approx(count, rel=0.01)


def test_a_cell_sorts_by_its_own_value_where_it_has_one() -> None:
    assert sort_value(Cell("best", value=0.5)) == 0.5
    assert sort_value(Cell("0.25 (0.1 to 0.4)")) == 0.25
    assert sort_value(Cell("0.25", value=math.nan)) is None
