"""Causal attention within each row of a packed batch, as a back end that transformers' models look up by name.

Rows are laid out under each other and padded on the right to the longest of their bucket: a causal mask keeps every
token from what stands to its right, padding included, so that no mask has to be built and the kernel skips half of the
work. Rows of one length need no copy at all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sweep.training.lanes.transfer import sent

NAME = "lanes"
PADDING = 0.25
"""Share of a bucket that may be padding; beyond it a shorter bucket is begun."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Where a bucket's cells are in the packed row."""

    gather: torch.Tensor
    """Position of each cell, rows by length."""
    places: torch.Tensor
    """Cells that are no padding, in the order of `positions`."""
    positions: torch.Tensor
    """Their positions."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of like length."""

    rows: int
    length: int
    cells: Cells | None
    """None where the packed row is the bucket already."""


def buckets(lengths: Sequence[int], device: torch.device) -> list[Bucket]:
    """Divide rows of a packed batch, given by their lengths, into buckets."""
    if len(set(lengths)) == 1:
        return [Bucket(len(lengths), lengths[0], None)]
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    groups: list[list[int]] = []
    for number in order:
        if groups:
            members = [*groups[-1], number]
            longest = lengths[members[0]]
            if sum(lengths[member] for member in members) >= (1 - PADDING) * longest * len(members):
                groups[-1] = members
                continue
        groups.append([number])
    return [_bucket([(starts[number], lengths[number]) for number in group], device) for group in groups]


def _bucket(rows: Sequence[tuple[int, int]], device: torch.device) -> Bucket:
    length = rows[0][1]
    cells, places, positions = [], [], []
    for number, (start, size) in enumerate(rows):
        cells += [start + min(place, size - 1) for place in range(length)]
        places += [number * length + place for place in range(size)]
        positions += [start + place for place in range(size)]
    found = (sent(values, torch.long, device) for values in (cells, places, positions))
    return Bucket(len(rows), length, Cells(*found))


_current: list[Bucket] = []


@contextmanager
def rows_of(lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Let models that attend by this back end keep rows of these lengths apart."""
    _current[:] = buckets(lengths, device)
    try:
        yield
    finally:
        _current.clear()


def attend(  # noqa: PLR0913
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Attention over 1 x heads x tokens x size; gives 1 x tokens x heads x size."""
    del module, attention_mask
    window = unused.get("sliding_window")
    if dropout or unused.get("softcap") is not None or unused.get("s_aux") is not None:
        raise NotImplementedError("this model's attention drops, caps or adds to its scores.")
    states = [state.transpose(1, 2)[0] for state in (query, key, value)]
    parts, positions = [], []
    for bucket in _current:
        shape = (bucket.rows, bucket.length)
        if bucket.cells is None:
            laid = [state.reshape(*shape, *state.shape[1:]) for state in states]
            return _causal(laid, scaling, window).reshape(1, -1, *states[0].shape[1:]), None
        cells = bucket.cells.gather
        laid = [state.index_select(0, cells).view(*shape, *state.shape[1:]) for state in states]
        parts.append(_causal(laid, scaling, window).flatten(0, 1).index_select(0, bucket.cells.places))
        positions.append(bucket.cells.positions)
    result = torch.empty_like(states[0]).index_copy(0, torch.cat(positions), torch.cat(parts))
    return result[None], None


def _causal(states: Sequence[torch.Tensor], scaling: float | None, window: int | None) -> torch.Tensor:
    query, key, value = (state.transpose(1, 2) for state in states)
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        near = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        mask = near & ~near.new_ones(length, length).tril(-window)
    found = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found.transpose(1, 2)


# transformers makes no mask for a back end that it knows no mask of, and does not look at the positions for one either,
# for which a GPU would have to be waited for.
ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
