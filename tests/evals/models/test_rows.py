"""Rows of a batch: who sees whom, and how little of it is padding."""

import random

import numpy as np
import pytest

from evals.models.prefix import Leaf
from evals.models.rows import Row, fill_batches, lay_out, plain_row, stack_rows


def numbered(length: int, number: int) -> Row:
    """A row whose tokens all are its number."""
    row = plain_row([number] * length, start=10)
    row.columns[number] = list(range(length))
    return row


def lengths(batches: list[list[Row]]) -> list[list[int]]:
    return [[len(row.tokens) for row in batch] for batch in batches]


def test_short_rows_join_longer_ones_up_to_the_longest_of_the_batch() -> None:
    rows = [numbered(length, number) for number, length in enumerate([3, 10, 2, 7, 9, 1])]

    assert lengths(list(fill_batches(rows, 2))) == [[10, 10], [7, 5]]
    assert lengths(list(fill_batches(rows, 8))) == [[10, 9, 7, 3, 2, 1]]


def test_rows_of_one_length_are_left_as_they_are() -> None:
    rows = [numbered(5, number) for number in range(5)]

    batches = list(fill_batches(rows, 2))

    assert lengths(batches) == [[5, 5], [5, 5], [5]]
    assert all(row in rows for batch in batches for row in batch)


def test_joined_rows_see_nothing_of_each_other_and_are_found_where_they_stand() -> None:
    [[_, joined]] = fill_batches([numbered(9, 1), numbered(5, 2), numbered(3, 3)], 2)

    assert joined.tokens == [2] * 5 + [3] * 3
    assert joined.positions == [10, 11, 12, 13, 14, 10, 11, 12]
    assert joined.columns == {2: [0, 1, 2, 3, 4], 3: [5, 6, 7]}
    expected = np.zeros((8, 8), dtype=bool)
    expected[:5, :5], expected[5:, 5:] = np.tri(5), np.tri(3)
    assert (joined.visible == expected).all()


def test_branches_keep_their_tree_within_a_joined_row() -> None:
    leaves = [Leaf((1, 2, 3, 4), 2), Leaf((1, 2, 3, 5), 2, shared=3), Leaf((1, 9), 1, shared=1)]
    tree, other = lay_out(leaves, (0, 1), 1), lay_out(leaves, (2,), 1)

    [[_, joined]] = fill_batches([numbered(5, 7), tree, other], 2)

    assert joined.tokens == [2, 3, 4, 5, 9]
    assert joined.columns == {0: [0, 1, 2], 1: [0, 1, 3], 2: [4]}
    assert joined.visible[3].tolist() == [True, True, False, True, False]
    assert joined.visible[4].tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_row_stands_in_one_batch_and_no_batch_is_larger_than_allowed(batch_size: int) -> None:
    draw = random.Random(batch_size)  # noqa: S311
    rows = [numbered(draw.randrange(1, 200), number) for number in range(300)]

    batches = list(fill_batches(rows, batch_size))

    assert sorted(number for batch in batches for row in batch for number in row.columns) == list(range(300))
    assert all(len(batch) <= batch_size for batch in batches)
    longest = [max(len(row.tokens) for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for row in (row for batch in batches for row in batch):
        assert all(row.tokens[column] == leaf for leaf, path in row.columns.items() for column in path)
    positions = sum(stack_rows(batch).ids.numel() for batch in batches)
    assert positions <= 1.05 * sum(len(row.tokens) for row in rows)
