"""Lengths of the prepared rows, in tokens: what training reads and what scoring asks.

Rows are prepared as for training, into a directory of their own; nothing is guessed from characters.
"""

from pathlib import Path

import numpy as np
from pyarrow import compute, parquet

from evals.spec import ModelSpec
from sweep.data.prepared import PreparedData
from sweep.data.split import SPLITS
from sweep.shape import RowLengths
from sweep.spec import DataSpec


def prepare_rows(  # noqa: PLR0913
    model: ModelSpec, data: DataSpec, *, data_root: Path, max_length: int, seed: int, cache: Path, hub: Path | None
) -> PreparedData:
    """Render, tokenize and divide the user's rows, or find that done. Raises ModelError and DataError."""
    from evals.models.load import load_tokenizer
    from evals.offline import reading_from
    from sweep.data.prepare import prepare

    with reading_from(hub):
        return prepare(
            data,
            load_tokenizer(model, cache=cache),
            data_root=data_root,
            max_length=max_length,
            directory=cache / "plan",
            seed=seed,
        )


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
