"""Forwards and backwards over packed batches."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from transformers.modeling_utils import PreTrainedModel

from sweep.training.lanes import attention
from sweep.training.lanes.loss import TokenLoss
from sweep.training.lanes.packed import Packed, Row, Share
from sweep.training.lanes.stacks import LaneAdapters, Stacks

VALIDATION_TOKENS = 2048
"""Tokens of validation rows that are read at a time, in all lanes together."""


class Reader:
    """Reads packed batches with a base model whose attention is that of lanes."""

    def __init__(self, base: PreTrainedModel, stacks: Stacks, dtype: torch.dtype, device: torch.device) -> None:
        self._base = base
        self._stacks = stacks
        self._dtype = dtype
        self._device = device

    def differentiate(self, packed: Packed, adapters: Sequence[LaneAdapters]) -> torch.Tensor:
        """Losses by share, on the device; gradients are added to the stacks."""
        # A checkpointed layer attends again in the backward.
        with self._stacks.reading(packed, adapters, trains=True), self._apart(packed):
            with self.computing():
                total, losses = self._losses(packed)
            total.backward()  # type: ignore[no-untyped-call]
        return packed.lane_sums(losses * packed.weights)

    @torch.no_grad()
    def validation_losses(self, lanes: Sequence[tuple[LaneAdapters, Sequence[Row]]]) -> list[float]:
        """Mean loss per learned token of each lane over rows, of which all lanes have as many.

        Raises ValueError where no token is learned.
        """
        self._base.eval()
        try:
            return self._validation_losses(lanes)
        finally:
            self._base.train()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Autocast as a trainer has it."""
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            yield

    def _apart(self, packed: Packed) -> AbstractContextManager[None]:
        return attention.rows_of(packed.row_lengths, self._device)

    def _losses(self, packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self._base.base_model(
            input_ids=packed.ids, position_ids=packed.positions, use_cache=False
        ).last_hidden_state
        head = self._base.get_output_embeddings()
        total, losses = TokenLoss.apply(
            hidden[0].index_select(0, packed.learned), head.weight, packed.targets, packed.weights
        )
        return total, losses

    def _validation_losses(self, lanes: Sequence[tuple[LaneAdapters, Sequence[Row]]]) -> list[float]:
        ordered = [(adapters, sorted(rows, key=lambda row: -len(row.tokens))) for adapters, rows in lanes]
        sums = torch.zeros(len(lanes), dtype=torch.float64, device=self._device)
        lengths = [max(len(rows[place].tokens) for _, rows in ordered) for place in range(len(ordered[0][1]))]
        for places in _chunks(lengths, VALIDATION_TOKENS // len(lanes)):
            shares = [Share(own.lane, [rows[place] for place in places], 1.0) for own, rows in ordered]
            packed = Packed(shares, self._device)
            reading = self._stacks.reading(packed, [own for own, _ in ordered], trains=False)
            with reading, self._apart(packed), self.computing():
                _, found = self._losses(packed)
            sums += packed.lane_sums(found)
        counts = [sum(row.learned for row in rows) for _, rows in ordered]
        if not all(counts):
            raise ValueError("the validation rows hold no completion token.")
        return [float(total) / count for total, count in zip(sums.tolist(), counts, strict=True)]


def _chunks(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places of rows in chunks of about so many tokens."""
    chunk: list[int] = []
    held = 0
    for place, length in enumerate(lengths):
        if chunk and held + length > tokens:
            yield chunk
            chunk, held = [], 0
        chunk.append(place)
        held += length
    if chunk:
        yield chunk
