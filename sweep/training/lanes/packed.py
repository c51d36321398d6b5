"""Micro-batches of several lanes as one row without padding, and where each row and lane stands in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from sweep.training.lanes.transfer import sent
from sweep.training.rows import IGNORED


@dataclass(frozen=True, slots=True)
class Row:
    """A row of training data, cut to its lane's length."""

    tokens: Sequence[int]
    labels: Sequence[int]
    """The tokens where they are learned, `IGNORED` elsewhere."""

    @property
    def learned(self) -> int:
        """Tokens that are predicted and learned; the first of a row is predicted by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Share:
    """One lane's rows in a packed batch."""

    lane: int
    """The lane, by its number."""
    rows: Sequence[Row]
    weight: float
    """What each learned token's loss is multiplied by."""


class Packed:
    """Rows behind each other, lane by lane: what the model reads, and what is learned of it."""

    def __init__(self, shares: Sequence[Share], device: torch.device) -> None:
        self.shares = shares
        self.lanes = tuple(share.lane for share in shares)
        rows = [row for share in shares for row in share.rows]
        self.row_lengths = [len(row.tokens) for row in rows]
        self.lane_lengths = [sum(len(row.tokens) for row in share.rows) for share in shares]
        self.size = sum(self.row_lengths)
        self.ids = sent([token for row in rows for token in row.tokens], torch.long, device)[None]
        self.positions = sent([place for size in self.row_lengths for place in range(size)], torch.long, device)[None]
        learned, targets, weights, owners = [], [], [], []
        starts = accumulate(self.row_lengths, initial=0)
        owner_of = [number for number, share in enumerate(shares) for _ in share.rows]
        for row, start, owner in zip(rows, starts, owner_of, strict=False):
            for place, label in enumerate(row.labels[1:]):
                if label != IGNORED:
                    learned.append(start + place)
                    targets.append(label)
                    weights.append(shares[owner].weight)
                    owners.append(owner)
        self.learned = sent(learned, torch.long, device)
        """Positions that predict a learned token."""
        self.targets = sent(targets, torch.long, device)
        self.weights = sent(weights, torch.float32, device)
        self.owners = sent(owners, torch.long, device)
        """For each learned token, the place of its lane among the shares."""

    def lane_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Values of learned tokens added up by share, in float64."""
        return torch.zeros(len(self.shares), dtype=torch.float64, device=values.device).index_add_(
            0, self.owners, values.double()
        )

    def spans(self) -> Iterator[tuple[Share, int, int]]:
        """Each share with the tokens that it takes, from and to."""
        ends = list(accumulate(self.lane_lengths, initial=0))
        yield from zip(self.shares, ends, ends[1:], strict=False)
