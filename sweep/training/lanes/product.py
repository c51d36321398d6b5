"""What adapters add to a layer's output, for all lanes of a batch at once, and its gradients."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

Run = tuple[int, int]
"""Rows of a matrix, from and to."""


class Weights(Protocol):
    """Adapters of one module under each other, as rank rows, and the gradients that are added up for them."""

    down_grad: torch.Tensor
    up_grad: torch.Tensor

    def weights(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Rank rows by inputs, and rank rows by outputs."""


class Product(torch.autograd.Function):
    """`output + (inputs * dropout) @ downᵀ * mask @ up`; gradients of both matrices are added to the stack's own."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,  # noqa: ANN401
        output: torch.Tensor,
        inputs: torch.Tensor,
        anchor: torch.Tensor,
        where: tuple[Weights, Sequence[Run]],
        mask: torch.Tensor | float,
        dropout: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """All of a packed batch: 1 x tokens x size."""
        del anchor
        stack, runs = where
        down, up = (_rows(weight, runs) for weight in stack.weights(dtype))
        kept = inputs[0] if dropout is None else inputs[0].float() * dropout
        kept = kept.to(dtype)
        inner = kept @ down.T
        inner *= mask
        ctx.save_for_backward(kept, inner, *(part for part in (mask, dropout) if isinstance(part, torch.Tensor)))
        ctx.where, ctx.dtype, ctx.drops = where, dtype, dropout is not None
        ctx.scale = mask if isinstance(mask, float) else None
        return torch.addmm(output[0].to(dtype), inner, up).to(output.dtype)[None]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        """Gradients of output and inputs."""
        kept, inner, *others = ctx.saved_tensors
        mask = others[0] if ctx.scale is None else ctx.scale
        stack, runs = ctx.where
        down, up = (_rows(weight, runs) for weight in stack.weights(ctx.dtype))
        outer = grad[0].to(ctx.dtype)
        _accumulate(stack.up_grad, runs, inner, outer)
        inner_grad = outer @ up.T
        inner_grad *= mask
        _accumulate(stack.down_grad, runs, inner_grad, kept)
        inputs_grad = None
        if ctx.needs_input_grad[1]:
            inputs_grad = inner_grad @ down
            if ctx.drops:
                inputs_grad = inputs_grad.float() * others[-1]
            inputs_grad = inputs_grad[None]
        return grad, inputs_grad, None, None, None, None, None


def _rows(weight: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
    """Rows of a matrix: a view where they are one run."""
    parts = [weight[start:end] for start, end in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _accumulate(total: torch.Tensor, runs: Sequence[Run], one: torch.Tensor, other: torch.Tensor) -> None:
    """Add `oneᵀ @ other` to rows of a matrix."""
    done = 0
    for start, end in runs:
        part = one if len(runs) == 1 else one[:, done : done + end - start]
        if part.dtype == total.dtype:
            total[start:end].addmm_(part.T, other)
        else:
            total[start:end].add_(part.T @ other)
        done += end - start
