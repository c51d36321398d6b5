"""Lay branching sequences out as rows of one batch.

Leaves that continue one context stand behind each other in one row, and each token sees its own branch only: positions
count along the branch, and the mask is a tree instead of a triangle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evals.models.prefix import Leaf


@dataclass(frozen=True, slots=True)
class Row:
    """One pack after its cluster's prefix, laid flat."""

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
