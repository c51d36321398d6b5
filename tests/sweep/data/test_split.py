import pytest

from sweep.data.rows import Message, Row
from sweep.data.split import divide
from sweep.errors import DataError


def rows(count: int, *, groups: int | None = None) -> list[Row]:
    return [
        Row(number, (Message("user", f"{number}"),), "", "answer", None if groups is None else f"{number % groups}")
        for number in range(count)
    ]


def test_shares_are_met_roughly() -> None:
    places = divide(rows(20_000), {"validation": 0.1, "test": 0.2}, seed=0, group=None)

    assert places.count("validation") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert places.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)


def test_the_order_of_rows_does_not_matter() -> None:
    some = rows(100)
    shares = {"validation": 0.2, "test": 0.2}

    assert divide(some[::-1], shares, seed=0, group=None) == divide(some, shares, seed=0, group=None)[::-1]


def test_another_validation_share_leaves_the_test_rows_alone() -> None:
    small, large = (divide(rows(500), {"validation": share, "test": 0.1}, seed=0, group=None) for share in (0.1, 0.4))

    assert [place == "test" for place in small] == [place == "test" for place in large]
    assert small != large


def test_without_shares_everything_is_trained_on() -> None:
    assert divide(rows(3), {}, seed=0, group=None) == ["train"] * 3


def test_an_empty_split_says_how_many_groups_are_needed() -> None:
    with pytest.raises(
        DataError, match=r"of 2 values of customer came out empty\. Give at least 50 values of customer"
    ):
        divide(rows(1000, groups=2), {"validation": 0.1, "test": 0.1}, seed=0, group="customer")
