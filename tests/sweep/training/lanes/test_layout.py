"""Tokens of several lanes on pages of their own, and back."""

import pytest
import torch

from sweep.training.lanes.layout import Layout


def layout(*spans: tuple[int, int], size: int) -> Layout:
    return Layout(spans, [1.0] * len(spans), size, dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("spans", "size"),
    [
        (((0, 3), (3, 6)), 6),
        (((0, 2), (2, 6), (6, 7)), 7),
        (((0, 3), (3, 5)), 5),
        (((2, 4), (6, 8)), 9),
        (((4, 5), (0, 3)), 5),
        (((3, 6), (0, 3)), 6),
        (((1, 4),), 6),
    ],
    ids=[
        "equal",
        "ragged",
        "a shorter last one",
        "some of the row",
        "out of order",
        "equal out of order",
        "one of several",
    ],
)
def test_each_lane_has_a_page_and_what_is_left_over_is_zero(spans: tuple[tuple[int, int], ...], size: int) -> None:
    row = torch.arange(1.0, 2 * size + 1).reshape(size, 2)
    made = layout(*spans, size=size)

    pages = made.spread(row)

    longest = max(last - first for first, last in spans)
    assert pages.shape == (len(spans), longest, 2)
    for page, (first, last) in zip(pages, spans, strict=True):
        assert torch.equal(page[: last - first], row[first:last])
        assert not page[last - first :].any()


def test_the_way_back_leaves_tokens_of_other_lanes_zero() -> None:
    row = torch.arange(1.0, 19.0).reshape(9, 2)
    made = layout((2, 4), (5, 8), size=9)

    back = made.gather(made.spread(row))

    assert torch.equal(back[[2, 3, 5, 6, 7]], row[[2, 3, 5, 6, 7]])
    assert not back[[0, 1, 4, 8]].any()


def test_what_left_over_places_hold_never_comes_back() -> None:
    made = layout((0, 1), (1, 4), size=4)
    pages = made.spread(torch.ones(4, 2))
    pages[0, 1:] = torch.inf

    assert torch.equal(made.gather(pages), torch.ones(4, 2))


def test_lanes_that_make_up_the_row_are_not_copied() -> None:
    row = torch.ones(6, 2)

    assert layout((0, 3), (3, 6), size=6).spread(row).data_ptr() == row.data_ptr()
