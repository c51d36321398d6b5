"""The loss of the learned tokens only, and its gradient, a chunk of positions at a time.

The logits of a chunk are formed once; their gradient is taken in the same pass and only its product with the output
layer is kept, so that nothing of the size of the vocabulary outlives a chunk.
"""

from typing import Any

import torch

CHUNK = 256
"""Positions whose logits are held at a time."""


class TokenLoss(torch.autograd.Function):
    """Minus log-probability of each target; its weighted sum is what is differentiated."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (tokens x size) under an output layer (vocabulary x size). Gives the sum, and each token's."""
        losses = hidden.new_empty(len(targets), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        compute = weight.dtype
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = (hidden[part].to(compute) @ weight.T).float()
            aims = targets[part, None]
            normalizer = logits.logsumexp(-1, keepdim=True)
            losses[part] = (normalizer - logits.gather(1, aims))[:, 0]
            change = logits.sub_(normalizer).exp_()
            change.scatter_add_(1, aims, change.new_full(aims.shape, -1.0))
            change.mul_(weights[part, None])
            gradient[part] = (change.to(compute) @ weight).to(hidden.dtype)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # noqa: ANN401
        """The gradient of the sum, which is ready."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None
