"""Lengths of the prepared rows, in tokens: what training reads and what scoring asks."""

from pathlib import Path

import numpy as np
from pyarrow import compute, parquet

from sweep.data.prepared import PreparedData
from sweep.data.split import SPLITS
from sweep.shape import RowLengths


def row_lengths(prepared: PreparedData) -> dict[str, RowLengths]:
    """Lengths by split."""
    return {split: _lengths(prepared.directory, split) for split in SPLITS}


def _lengths(directory: Path, split: str) -> RowLengths:
    table = parquet.read_table(directory / f"{split}.parquet")
    whole = compute.list_value_length(table["input_ids"]).to_numpy()
    learned = np.array([int(np.sum(mask)) for mask in table["completion_mask"].to_numpy()], dtype=np.int64)
    return RowLengths(
        rows=len(whole),
        tokens=int(whole.sum()),
        longest=int(whole.max(initial=0)),
        learned=int(learned.sum()),
        longest_learned=int(learned.max(initial=0)),
    )
