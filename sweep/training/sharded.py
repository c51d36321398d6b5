"""TRL's trainer as one of several processes, each with its share of the rows and of the model.

accelerate fills up the last batch of an epoch with rows from its beginning, which would train on some rows twice and
make a trial depend on how many processes it has. Here the last batch is filled up with rows that have no labels: an
optimizer step is made of the same rows in the same order as in one process, and its loss is divided by the same number
of learned tokens.
"""

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from accelerate import PartialState
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import (
    DistributedType,
    FullyShardedDataParallelPlugin,
    convert_outputs_to_fp32,
)
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sweep.training.rows import IGNORED
from sweep.training.trainer import SoloTrainer

BLANK_TOKENS = 2
"""Tokens of a row that teaches nothing: the fewest of which one could be learned."""


class _Filled(Dataset[dict[str, list[int]]]):
    """Rows, with blank ones behind them up to a whole number of batches for all processes."""

    def __init__(self, rows: Any, batch: int, pad: int) -> None:  # noqa: ANN401 - a data set of the Hub's library
        self.blanks = -len(rows) % batch
        self._rows = rows
        self._blank = {"input_ids": [pad] * BLANK_TOKENS, "labels": [IGNORED] * BLANK_TOKENS}

    def __len__(self) -> int:
        return len(self._rows) + self.blanks

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        row: dict[str, list[int]] = self._rows[place] if place < len(self._rows) else self._blank
        return row


class _BlanksLast(Sampler[int]):
    """The order that accelerate gives one process, and blank rows after it."""

    def __init__(self, rows: int, blanks: int, seed: int) -> None:
        self._shuffled = SeedableRandomSampler(data_source=range(rows), data_seed=seed)
        self._blanks = range(rows, rows + blanks)

    def __len__(self) -> int:
        return len(self._shuffled) + len(self._blanks)

    def __iter__(self) -> Iterator[int]:
        yield from self._shuffled
        yield from self._blanks

    def set_epoch(self, epoch: int) -> None:
        """Shuffle as in this epoch."""
        self._shuffled.set_epoch(epoch)


class ShardedTrainer(SoloTrainer):
    """The trainer of one process among several."""

    _blanks = 0
    _batches_of_an_epoch = 0
    _batches = 0

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401
        """Take what TRL's trainer takes."""
        super().__init__(*given, **named)
        if self.args.bf16:
            # accelerate does so for one process, and leaves it to FSDP's own policy for several.
            model: Any = self.model
            autocast = torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16)
            model.forward = MethodType(convert_outputs_to_fp32(autocast(model.forward.__func__)), model)

    def create_accelerator_and_postprocess(self) -> None:
        """Have accelerate divide the model on CPUs too, where it would only keep whole copies alike."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if state.distributed_type == DistributedType.MULTI_CPU:
            # Whoever makes another AcceleratorState copies what PartialState says into it.
            PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def _prepare_for_training(self, *given: Any) -> Any:  # noqa: ANN401
        model, batches = super()._prepare_for_training(*given)
        whole = [name for name, weight in model.named_parameters() if not isinstance(weight, DTensor)]
        if whole:
            raise TypeError(
                f"accelerate has not divided {len(whole)} weights among the processes: {whole[0]} is whole."
            )
        return model, batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches for this process, as many as for any other."""
        together = self._train_batch_size * self.args.world_size
        rows = len(self.train_dataset)
        filled = _Filled(self.train_dataset, together, self.processing_class.pad_token_id)
        order = _BlanksLast(rows, filled.blanks, self.args.data_seed)
        loader: DataLoader[Any] = self._get_dataloader(
            filled, "Training", self._train_batch_size, sampler_fn=lambda _: order, is_training=True
        )
        self._blanks, self._batches_of_an_epoch = filled.blanks, len(loader)
        return loader

    def training_step(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *given: Any) -> torch.Tensor:  # noqa: ANN401
        """Train on one micro-batch; the tokens of blank rows are not counted."""
        self._batches += 1
        if self._batches % self._batches_of_an_epoch == 0:
            self._total_train_tokens -= self._blanks * BLANK_TOKENS
        return super().training_step(model, inputs, *given)
