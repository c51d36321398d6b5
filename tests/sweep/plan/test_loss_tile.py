"""What TRL's loss makes of one tile of logits where there is no Triton, counted tensor by tensor as it runs."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweep.plan.activations import FLOAT32
from sweep.plan.memory import LOSS_COPIES, LOSS_MASK

TOKENS, COLUMNS = 64, 512


class Living(TorchDispatchMode):
    """Counts the bytes of tensors that were made and are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {tensor.data_ptr() for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            # A view, or what was changed in place, takes nothing.
            if isinstance(tensor, torch.Tensor) and (place := tensor.data_ptr()) not in known:
                self.bytes[place] = tensor.nbytes
                weakref.finalize(tensor, self.bytes.pop, place, None)
        self.peak = max(self.peak, sum(self.bytes.values()))
        return made


def test_the_backward_pass_of_a_tile_makes_as_many_copies_as_are_reckoned_with() -> None:
    from trl.kernels.chunked_logprob import _backward_tile

    tile = torch.randn(TOKENS, COLUMNS, dtype=torch.bfloat16)
    targets, log_z = torch.randint(0, COLUMNS, (TOKENS,)), torch.randn(TOKENS)
    with torch.no_grad(), Living() as living:
        _backward_tile(
            tile, tile.stride(0), targets, log_z, log_z, torch.ones(TOKENS), log_z, 0, COLUMNS, 1.0, 1.0, 1.0,
            HAS_SOFTCAP=False, HAS_LOGPROB_GRAD=True, HAS_ENTROPY_GRAD=False, BLOCK_SIZE=1024,
        )  # fmt: skip

    reckoned = (LOSS_COPIES * FLOAT32 + LOSS_MASK) * TOKENS * COLUMNS
    # Beside the tile's copies there are a number of each token and of each column.
    assert reckoned <= living.peak <= reckoned + 16 * (TOKENS + COLUMNS)
