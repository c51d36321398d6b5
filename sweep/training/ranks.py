"""The processes that train one trial together, as each of them sees itself among the others.

Every process takes the same steps over rows of its own and holds a part of every weight. Whatever asks the others has
to be called by all of them, at the same moment of the training.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train a trial; by default the only one."""

    number: int = 0
    """Its place, from 0; the first writes and reports."""
    count: int = 1
    """Processes in all."""
    device: torch.device | None = None
    """What it computes on; none where that is where the model is."""
    first_loads: bool = False
    """Whether the first process alone has read the base model, and gives the others their parts of it."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.number == 0

    def share(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
        """This process's part of the batches, and whether each counts.

        A forward pass needs all processes, so each is given as many; those that would have none are given one twice.
        """
        iterator = iter(batches)
        while group := list(islice(iterator, self.count)):
            counts = self.number < len(group)
            yield group[self.number if counts else 0], counts

    def add_up(self, *values: float) -> tuple[float, ...]:
        """The sums over all processes."""
        if self.count == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def whole(self, weights: Mapping[str, torch.nn.Parameter]) -> Mapping[str, torch.Tensor]:
        """The weights put together from their parts, on the CPU of the first process; the others get none."""
        if self.count == 1:
            return {name: weight.detach() for name, weight in weights.items()}
        gathered = {}
        for name, weight in weights.items():
            one = weight.detach()
            one = one.full_tensor() if isinstance(one, DTensor) else one
            if self.is_first:
                gathered[name] = one.cpu()
        return gathered


ALONE = Ranks()
