"""Divide the training rows by hash, so that a row's split never depends on the other rows.

Adding rows, or reordering them, moves none between the splits, and equal rows (or rows of one group) share a split. The
price is that a share is met only roughly, so a small file may leave a split empty: that is refused.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

from sweep.data.rows import Row
from sweep.errors import DataError

SPLITS = ("train", "validation", "test")


def divide(rows: Sequence[Row], held_out: Mapping[str, float], *, seed: int, group: str | None) -> list[str]:
    """The split of each row: train, or one that has a share. Raises DataError where one comes out empty."""
    keys = [key(row) for row in rows]
    places = [_split_of(row_key, held_out, seed) for row_key in keys]
    for split in ("train", *held_out):
        if split not in places:
            raise DataError(_empty_message(split, len(set(keys)), held_out, group))
    return places


def key(row: Row) -> str:
    """What decides a row's split: its group's value where there is one, else its content."""
    return row.digest() if row.group is None else f"group {row.group}"


def _split_of(row_key: str, held_out: Mapping[str, float], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\n{row_key}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    # The test split takes the lowest places, so that another validation share leaves it as it is.
    for split in reversed(SPLITS):
        if split in held_out:
            if place < held_out[split]:
                return split
            place -= held_out[split]
    return "train"


def _empty_message(split: str, keys: int, held_out: Mapping[str, float], group: str | None) -> str:
    every = {"train": 1 - sum(held_out.values()), **held_out}
    kind = "different rows" if group is None else f"values of {group}"
    # An empty split is then less likely than one in a hundred: (1 - share)^n < e^-5.
    needed = math.ceil(5 / min(every.values()))
    return (
        f"data.{split}: a share of {every[split]:g} of {keys} {kind} came out empty. "
        f"Give at least {needed} {kind}, a larger share, or a file of its own."
    )
