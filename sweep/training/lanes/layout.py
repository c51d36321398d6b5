"""Where the tokens of several lanes stand when every lane has a matrix of its own.

Lanes lie behind each other in a packed row. To multiply each with its own adapter at once, their tokens are spread over
equally long pages, a page for each lane; what a page has left over is zero. Lanes of equal length that make up the
whole row are pages as they stand.
"""

from collections.abc import Sequence

import torch

from sweep.training.lanes.transfer import sent


class Layout:
    """Pages of some of a packed row's lanes."""

    def __init__(
        self,
        spans: Sequence[tuple[int, int]],
        scales: Sequence[float],
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`spans` are the tokens of each lane, from and to, in the row of `size` tokens."""
        lengths = [last - first for first, last in spans]
        tokens = [token for first, last in spans for token in range(first, last)]
        slots = [page * max(lengths) + place for page, length in enumerate(lengths) for place in range(length)]
        self.scales = sent(scales, dtype, device)[:, None, None]
        """Of the lanes' adapters: pages x 1 x 1."""
        self._pages, self._length, self._size = len(spans), max(lengths), size
        in_order = tokens == list(range(size))
        self._tokens = None if in_order else sent(tokens, torch.long, device)
        are_full = len(slots) == self._pages * self._length
        self._slots = None if are_full else sent(slots, torch.long, device)

    def spread(self, row: torch.Tensor) -> torch.Tensor:
        """Tokens x size as pages x length x size."""
        if self._tokens is not None:
            row = row.index_select(0, self._tokens)
        if self._slots is not None:
            row = row.new_zeros(self._pages * self._length, row.shape[-1]).index_copy_(0, self._slots, row)
        return row.reshape(self._pages, self._length, -1)

    def gather(self, pages: torch.Tensor) -> torch.Tensor:
        """The way back; tokens of other lanes are zero."""
        row = pages.view(self._pages * self._length, -1)
        if self._slots is not None:
            row = row.index_select(0, self._slots)
        if self._tokens is not None:
            row = row.new_zeros(self._size, row.shape[-1]).index_copy_(0, self._tokens, row)
        return row
