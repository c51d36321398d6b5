"""Prepared rows as a trainer reads them: labels where something is learned, batches where something is measured."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from sweep.data.prepared import SplitName

IGNORED = -100
"""Label of a token that carries no loss."""


class Rows(Protocol):
    """What training needs of prepared data."""

    def dataset(self, split: SplitName) -> Dataset:
        """Rows of a split, with `input_ids` and `completion_mask`."""


def spread_evenly(rows: int, most: int) -> list[int]:
    """Places of at most so many of the rows, spread evenly: rows may be sorted."""
    taken = min(rows, most)
    return [place * rows // taken for place in range(taken)]


def with_labels(rows: Dataset, *, max_length: int, completion_only: bool) -> Dataset:
    """Label rows as they are read, so that nothing is copied or cached on disk."""

    def label(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        masks = batch["learned"]
        return {
            "input_ids": [ids[:max_length] for ids in batch["input_ids"]],
            "labels": [
                labels_of(ids, mask if completion_only else None)[:max_length]
                for ids, mask in zip(batch["input_ids"], masks, strict=True)
            ],
        }

    # TRL refuses rows with a mask it knows and no labels, and it cannot see labels that are made on the fly.
    return rows.rename_column("completion_mask", "learned").with_transform(label)


def labels_of(input_ids: Sequence[int], completion_mask: Sequence[int] | None) -> list[int]:
    """The row's tokens where they are learned; without a mask, all of them."""
    if completion_mask is None:
        return list(input_ids)
    return [token if learned else IGNORED for token, learned in zip(input_ids, completion_mask, strict=True)]


def batches(
    rows: Dataset, collator: DataCollatorForLanguageModeling, *, batch_size: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Batches of labelled rows, the longest first, so that running out of memory shows at once.

    No DataLoader: one draws a seed from torch's global generator, and taking a validation loss must not change the
    dropout of the steps after it.
    """
    lengths = [len(ids) for ids in rows.with_format(None).select_columns("input_ids")["input_ids"]]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), batch_size):
        examples = [rows[index] for index in order[start : start + batch_size]]
        yield {name: tensor.to(device) for name, tensor in collator(examples).items()}
