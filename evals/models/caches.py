"""What a model has read already, kept for the forwards that go on from there.

`Recorded` is a prefix's keys and values, `Reading` lets many rows go on from it, and `Slots` is where rows of different
lengths grow token by token. All of them hold full attention only: a layer with a window or a state does not fit, and
such models are scored the plain way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True, slots=True)
class Recorded:
    """Keys and values of each layer: rows by heads by tokens by size."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]

    @property
    def rows(self) -> int:
        """Rows held."""
        return self.keys[0].shape[0] if self.keys else 0

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.keys[0].shape[2] if self.keys else 0


class _Recording(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Goes on from what it was given, for each row its own, and keeps what was read here apart."""

    def __init__(self, keys: torch.Tensor | None, values: torch.Tensor | None, *, apart: bool) -> None:
        super().__init__()
        self.past_keys, self.past_values = keys, values
        self.apart = apart

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The past followed by what is new; what is new alone where the past is looked at apart."""
        self.keys, self.values = key_states, value_states
        if self.past_keys is None or self.past_values is None or self.apart:
            return key_states, value_states
        return torch.cat([self.past_keys, key_states], dim=2), torch.cat([self.past_values, value_states], dim=2)

    def get_seq_length(self) -> int:
        """Tokens before this forward."""
        return 0 if self.past_keys is None else int(self.past_keys.shape[2])


class Reading(Cache):  # type: ignore[misc]
    """The cache of one forward: goes on from a recording, whose row each row here continues, and records in turn."""

    def __init__(self, layers: int, past: Recorded | None, rows: torch.Tensor | None, *, apart: bool = False) -> None:
        """With `apart`, attention finds the past itself and gets what is new alone."""

        def chosen(kept: torch.Tensor) -> torch.Tensor:
            if rows is None or apart:
                return kept
            # One recorded row serves all rows without being copied.
            return kept.expand(len(rows), -1, -1, -1) if kept.shape[0] == 1 else kept[rows]

        if past is None:
            recording = [_Recording(None, None, apart=False) for _ in range(layers)]
        else:
            pairs = zip(past.keys, past.values, strict=True)
            recording = [_Recording(chosen(keys), chosen(values), apart=apart) for keys, values in pairs]
        super().__init__(layers=recording)

    def recorded(self) -> Recorded:
        """What was read in this forward."""
        return Recorded([layer.keys for layer in self.layers], [layer.values for layer in self.layers])


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of growing rows in one buffer; each row writes at its own length."""

    def __init__(self, slots: "Slots", like: torch.Tensor) -> None:
        super().__init__()
        self.slots = slots
        shape = (slots.size, like.shape[1], slots.capacity, like.shape[3])
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token for each row, and show all rows up to the longest."""
        self.keys[self.slots.rows, :, self.slots.lengths] = key_states[:, :, 0]
        self.values[self.slots.rows, :, self.slots.lengths] = value_states[:, :, 0]
        return self.keys[:, :, : self.slots.longest + 1], self.values[:, :, : self.slots.longest + 1]

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return self.slots.longest

    def change(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace the buffers."""
        self.keys, self.values = change(self.keys), change(self.values)


class Slots(Cache):  # type: ignore[misc]
    """Rows that grow by one token in each forward, may be replaced one by one, and differ in length."""

    def __init__(self, size: int, capacity: int, like: Recorded) -> None:
        self.size, self.capacity = size, capacity
        device = like.keys[0].device
        self.rows = torch.arange(size, device=device)
        self.lengths = torch.zeros(size, dtype=torch.long, device=device)
        self.longest = 0
        super().__init__(layers=[_SlotLayer(self, keys) for keys in like.keys])

    def fill(self, slot: int, parts: Sequence[tuple[Recorded, int, int]]) -> None:
        """Put a row into a slot: pieces of recordings, each with its row and the tokens to take from it."""
        start = 0
        for recorded, row, length in parts:
            for layer, keys, values in zip(self.layers, recorded.keys, recorded.values, strict=True):
                layer.keys[slot, :, start : start + length] = keys[row, :, :length]
                layer.values[slot, :, start : start + length] = values[row, :, :length]
            start += length
        self.lengths[slot] = start
        self.longest = int(self.lengths.max())

    def visible(self) -> torch.Tensor:
        """What the token that each row reads next sees, itself included: rows by 1 by tokens."""
        columns = torch.arange(self.longest + 1, device=self.lengths.device)
        return (columns[None, :] <= self.lengths[:, None])[:, None, :]

    def advance(self) -> None:
        """Count the token that was read."""
        self.lengths += 1
        self.longest += 1

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all rows but these."""
        chosen = torch.tensor(list(slots), device=self.lengths.device)
        self.size = len(slots)
        self.rows = torch.arange(self.size, device=self.lengths.device)
        self.lengths = self.lengths[chosen]
        self.longest = int(self.lengths.max()) if slots else 0
        for layer in self.layers:
            layer.change(lambda buffer: buffer[chosen])
