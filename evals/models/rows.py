"""Lay branching sequences out as rows of one batch.

Leaves that continue one context stand behind each other in one row, and each token sees its own branch only: positions
count along the branch, and the mask is a tree instead of a triangle. Short rows join others likewise, so that little of
a batch is padding.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evals.models.prefix import Leaf


@dataclass(frozen=True, slots=True)
class Row:
    """One pack after its cluster's prefix, laid flat; or several that see nothing of each other."""

    tokens: list[int]
    positions: list[int]
    visible: NDArray[np.bool_]
    """Whether a token (first axis) sees another one of the row."""
    columns: dict[int, list[int]]
    """For each leaf, where its tokens stand, from the end of the prefix on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right to one length: rows by tokens."""

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    """Whether a token sees another of its row: rows by tokens by tokens."""


def lay_out(leaves: Sequence[Leaf], pack: Sequence[int], prefix: int) -> Row:
    """Put a pack's leaves, less the prefix, into one row; what neighbours share stands once."""
    size = len(leaves[pack[0]].tokens) - prefix
    size += sum(len(leaves[number].tokens) - leaves[number].shared for number in pack[1:])
    row = Row([], [], np.zeros((size, size), dtype=np.bool_), {})
    path: list[int] = []
    for number in pack:
        leaf = leaves[number]
        kept = prefix if number == pack[0] else leaf.shared
        fresh = list(range(len(row.tokens), len(row.tokens) + len(leaf.tokens) - kept))
        path = path[: kept - prefix]
        row.visible[np.ix_(fresh, path)] = True
        row.visible[np.ix_(fresh, fresh)] = np.tri(len(fresh), dtype=np.bool_)
        path = path + fresh
        row.tokens.extend(leaf.tokens[kept:])
        row.positions.extend(range(kept, len(leaf.tokens)))
        row.columns[number] = path
    return row


def fill_batches(rows: Sequence[Row], batch_size: int) -> Iterator[list[Row]]:
    """Batches of at most so many rows, the longest first: memory runs out at once or not at all.

    The longest rows that are left start a batch, and up to the length of its longest the shorter ones of it are joined
    by the longest that fit.
    """
    left = sorted(rows, key=_length)
    lengths = [_length(row) for row in left]
    while left:
        started = [[left.pop()] for _ in range(min(batch_size, len(left)))]
        del lengths[len(left) :]
        longest = _length(started[0][0])
        for parts in started:
            free = longest - _length(parts[0])
            while (place := bisect_right(lengths, free) - 1) >= 0:
                free -= lengths.pop(place)
                parts.append(left.pop(place))
        yield [_join(parts) for parts in started]


def _length(row: Row) -> int:
    return len(row.tokens)


def _join(rows: Sequence[Row]) -> Row:
    """Put rows behind each other that see nothing of each other."""
    if len(rows) == 1:
        return rows[0]
    size = sum(map(_length, rows))
    joined = Row([], [], np.zeros((size, size), dtype=np.bool_), {})
    for row in rows:
        start, end = _length(joined), _length(joined) + _length(row)
        joined.visible[start:end, start:end] = row.visible
        joined.columns.update({leaf: [start + column for column in path] for leaf, path in row.columns.items()})
        joined.tokens.extend(row.tokens)
        joined.positions.extend(row.positions)
    return joined


def plain_row(tokens: Sequence[int], start: int) -> Row:
    """A sequence without branches whose first token has the position `start`."""
    size = len(tokens)
    return Row(list(tokens), list(range(start, start + size)), np.tri(size, dtype=np.bool_), {})


def stack_rows(rows: Sequence[Row]) -> Batch:
    """Pad rows to the longest. Padding sees itself only, and nobody sees it."""
    longest = max(len(row.tokens) for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    positions = np.zeros_like(ids)
    visible = np.tile(np.eye(longest, dtype=np.bool_), (len(rows), 1, 1))
    for number, row in enumerate(rows):
        size = len(row.tokens)
        ids[number, :size] = row.tokens
        positions[number, :size] = row.positions
        visible[number, :size, :size] = row.visible
    return Batch(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(visible))
