"""The order in which a lane meets its rows: that of transformers' Trainer on one device, seed for seed.

Each epoch is a permutation drawn by accelerate's sampler from the seed and the epoch's number, cut into micro-batches,
of which so many as are accumulated make a window: one optimizer step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelerate.data_loader import SeedableRandomSampler

from sweep.data.prepared import SplitName
from sweep.spec import TrainingSpec
from sweep.training.lanes.packed import Row
from sweep.training.rows import Rows, labels_of, spread_evenly

RawRows = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Tokens and completion masks."""


def read_rows(prepared: Rows, split: SplitName) -> RawRows:
    """A split's rows, as lists once for all lanes."""
    rows = prepared.dataset(split).with_format(None)
    if len(rows) == 0:
        return []
    return list(zip(rows["input_ids"], rows["completion_mask"], strict=True))


def rows_for(raw: RawRows, training: TrainingSpec, *, completions: bool = False) -> list[Row]:
    """Rows as a trial reads them: cut to its length, labelled where it learns; on completions alone where asked."""
    only, length = completions or training.completion_only_loss, training.max_length
    return [Row(ids[:length], labels_of(ids, mask if only else None)[:length]) for ids, mask in raw]


def validation_rows_for(raw: RawRows, training: TrainingSpec) -> list[Row]:
    """Rows that a trial's validation losses are taken over, labelled on completions."""
    taken = [raw[place] for place in spread_evenly(len(raw), training.validation_rows)]
    return rows_for(taken, training, completions=True)


@dataclass(frozen=True, slots=True)
class Window:
    """The micro-batches of one optimizer step."""

    batches: Sequence[Sequence[Row]]
    epoch: float
    """Passes over the rows when the step is done."""
    starts_epoch: bool

    @property
    def learned(self) -> int:
        """Learned tokens of all micro-batches, by which their losses are divided; 1 where nothing is learned."""
        return max(1, sum(row.learned for batch in self.batches for row in batch))

    @property
    def tokens(self) -> int:
        """Tokens of all micro-batches."""
        return sum(len(row.tokens) for batch in self.batches for row in batch)


def windows(rows: Sequence[Row], training: TrainingSpec, *, seed: int) -> Iterator[Window]:
    """Windows of epoch after epoch, without end."""
    sampler = SeedableRandomSampler(data_source=range(len(rows)), data_seed=seed)
    size, accumulated, epoch = training.micro_batch_size, training.gradient_accumulation_steps, 0
    while True:
        sampler.set_epoch(epoch)
        order = list(sampler)
        batches = [[rows[index] for index in order[start : start + size]] for start in range(0, len(order), size)]
        for start in range(0, len(batches), accumulated):
            end = min(start + accumulated, len(batches))
            yield Window(batches[start:end], epoch + end / len(batches), starts_epoch=start == 0)
        epoch += 1
