"""Numbers that are not known exactly."""

import math

import pytest

from sweep.plan.ranges import Range, total


def test_a_number_that_is_known_has_one_value() -> None:
    assert Range.exactly(3) == Range(3, 3, 3)


@pytest.mark.parametrize("values", [(2, 1, 3), (1, 3, 2), (3, 2, 1), (1, math.nan, 2)])
def test_values_that_do_not_ascend_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="do not ascend"):
        Range(*values)


def test_sums_and_multiples_are_taken_value_by_value() -> None:
    assert Range(1, 2, 4) + Range(10, 20, 30) == Range(11, 22, 34)
    assert Range(1, 2, 4) * 2.5 == Range(2.5, 5, 10)
    assert Range(1, 2, 4) * 0 == Range.exactly(0)
    with pytest.raises(ValueError, match="do not ascend"):
        Range(1, 2, 4) * -1


def test_a_total_is_the_sum_of_all_and_nothing_of_none() -> None:
    assert total([Range(1, 2, 3), Range.exactly(4), Range(0, 0, 1)]) == Range(5, 6, 8)
    assert total(part for part in ()) == Range.exactly(0)
