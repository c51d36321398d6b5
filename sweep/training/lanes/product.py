"""What adapters add to a layer's output, for all lanes of a batch at once, and its gradients."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from sweep.training.lanes.layout import Layout


@dataclass(frozen=True, slots=True)
class Pages:
    """Those pages of a stack whose lanes are read, and as much of them as the largest of those lanes has."""

    lanes: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]
    """From and to."""
    rank: int

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """A view where they are one run."""
        parts = [weight[start:end, : self.rank] for start, end in self.runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def accumulate(self, total: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> None:
        """Add `oneᵀ @ other` to pages, each to its own."""
        done = 0
        for start, end in self.runs:
            mine = slice(done, done + end - start)
            page = total[start:end, : self.rank]
            if one.dtype == total.dtype:
                page.baddbmm_(one[mine].mT, other[mine])
            else:
                page.add_(torch.bmm(one[mine].mT, other[mine]))
            done += end - start


class Weights(Protocol):
    """Adapters of one module as pages, one for each lane, and the gradients that are added up for them."""

    down_grad: torch.Tensor
    up_grad: torch.Tensor

    def weights(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Pages x rank x inputs, and pages x rank x outputs."""


class Product(torch.autograd.Function):
    """`output + scale * (inputs * dropout) @ downᵀ @ up`, lane by lane; the stack's gradients are added up."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,  # noqa: ANN401
        output: torch.Tensor,
        inputs: torch.Tensor,
        anchor: torch.Tensor,
        where: tuple[Weights, Pages, Layout],
        kept: torch.Tensor,
        dropout: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """All of a packed batch: 1 x tokens x size; `kept` is what dropout left of the inputs, as the layout has it."""
        del inputs, anchor
        stack, pages, layout = where
        down, up = (pages.of(weight) for weight in stack.weights(dtype))
        inner = torch.bmm(kept, down.mT) * layout.scales
        ctx.save_for_backward(kept, inner, *(() if dropout is None else (dropout,)))
        ctx.where, ctx.dtype = where, dtype
        added = output[0].to(dtype) + layout.gather(torch.bmm(inner, up))
        return added.to(output.dtype)[None]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        """Gradients of output and inputs."""
        kept, inner, *dropout = ctx.saved_tensors
        stack, pages, layout = ctx.where
        down, up = (pages.of(weight) for weight in stack.weights(ctx.dtype))
        outer = layout.spread(grad[0].to(ctx.dtype))
        pages.accumulate(stack.up_grad, inner, outer)
        inner_grad = torch.bmm(outer, up.mT) * layout.scales
        pages.accumulate(stack.down_grad, inner_grad, kept)
        inputs_grad = None
        if ctx.needs_input_grad[1]:
            inputs_grad = layout.gather(torch.bmm(inner_grad, down))
            if dropout:
                inputs_grad = inputs_grad.float() * dropout[0]
            inputs_grad = inputs_grad[None]
        return grad, inputs_grad, None, None, None, None, None
