"""Causal attention within each row of a packed batch, as a back end that transformers' models look up by name.

Where the device has a kernel for rows of any length behind each other, that is used. Elsewhere rows are laid out under
each other and padded on the right to the longest of their bucket: a causal mask keeps every token from what stands to
its right, padding included, so that no mask has to be built and the kernel skips half of the work. Rows of one length
need no copy at all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sweep.training.lanes.transfer import sent

NAME = "lanes"
PADDING = 0.25
"""Share of a bucket that may be padding; beyond it a shorter bucket is begun."""
VARLEN_DTYPES = (torch.bfloat16, torch.float16)
VARLEN_HEAD_SIZE = 256
"""Largest of a head for the varlen kernel, a multiple of 8 (FlashAttention 2)."""
VARLEN_CAPABILITY = (8, 0)
"""Oldest NVIDIA device that has it."""


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


class Rows:
    """Rows behind each other in a packed batch, as either way of attending needs them."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._lengths = tuple(lengths)
        self._device = device
        self.longest = max(self._lengths, default=0)

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Divided by length."""
        return buckets(self._lengths, self._device)

    @cached_property
    def starts(self) -> torch.Tensor:
        """Where each row starts, and where the last one ends."""
        return sent([0, *accumulate(self._lengths)], torch.int32, self._device)


_current: list[Rows] = []


@contextmanager
def rows_of(lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Let models that attend by this back end keep rows of these lengths apart."""
    _current[:] = [Rows(lengths, device)]
    try:
        yield
    finally:
        _current.clear()


def has_varlen(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether the device has a kernel that attends within rows of any length, for heads of this size."""
    if device.type != "cuda" or torch.version.hip is not None or dtype not in VARLEN_DTYPES:
        return False
    fits = head_size % 8 == 0 and head_size <= VARLEN_HEAD_SIZE
    return fits and torch.cuda.get_device_capability(device) >= VARLEN_CAPABILITY


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
    (rows,) = _current
    if has_varlen(query.device, query.dtype, query.shape[-1]):
        return _varlen(states, rows, scaling, window)[None], None
    parts, positions = [], []
    for bucket in rows.buckets:
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


def _varlen(states: Sequence[torch.Tensor], rows: Rows, scaling: float | None, window: int | None) -> torch.Tensor:
    """Attention over tokens x heads x size, each row by itself."""
    query, key, value = states
    found = varlen_attn(
        query,
        key,
        value,
        rows.starts,
        rows.starts,
        rows.longest,
        rows.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
        # Split keys would let a row's rounding depend on the longest row beside it.
        num_splits=1,
    )
    return cast("torch.Tensor", found)


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
