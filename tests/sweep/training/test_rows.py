"""Which rows are read where not all of them are."""

import pytest

from sweep.training.rows import spread_evenly


@pytest.mark.parametrize(
    ("rows", "most", "places"),
    [(6, 3, [0, 2, 4]), (10, 4, [0, 2, 5, 7]), (3, 3, [0, 1, 2]), (3, 9, [0, 1, 2]), (0, 5, [])],
)
def test_rows_are_spread_evenly_and_are_all_where_there_are_fewer(rows: int, most: int, places: list[int]) -> None:
    assert spread_evenly(rows, most) == places
