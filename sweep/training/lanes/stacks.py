"""The adapters of all lanes, module by module: what they add to a layer's output, and their gradients.

The adapters of a module are pages of one stack, so that two batched products serve all lanes, each lane multiplied with
its own page alone. A lane's weights and gradients are rows of its page, and move when lanes come and go; whoever holds
the lane's parameters sees them where they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit

from sweep.training.lanes.dropout import drawn
from sweep.training.lanes.layout import Layout
from sweep.training.lanes.packed import Packed
from sweep.training.lanes.product import Pages, Product


@dataclass(slots=True)
class Adapter:
    """One lane's adapter for one module."""

    down: torch.nn.Parameter
    """Rank by inputs."""
    up: torch.nn.Parameter
    """Rank by outputs."""
    scale: float


@dataclass(frozen=True, slots=True)
class LaneAdapters:
    """One lane's adapters."""

    lane: int
    modules: Mapping[str, Adapter]
    """By the module's name."""
    dropout: float
    generator: torch.Generator
    """Where the lane's dropout is drawn from, in the order of the layers."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything that is trained."""
        return [weight for adapter in self.modules.values() for weight in (adapter.down, adapter.up)]


@dataclass(slots=True)
class _Batch:
    """What is being read at this moment."""

    packed: Packed
    adapters: Sequence[LaneAdapters]
    """Of the batch's shares, in their order."""
    trains: bool
    """Whether dropout acts."""
    layouts: dict[Any, Layout] = field(default_factory=dict)
    """Where the tokens of each set of lanes stand."""
    last: tuple[torch.Tensor, Layout, torch.Tensor] | None = None
    """What was spread last, how, and what came of it: modules that read the same share it."""
    dropped: dict[str, torch.Tensor | None] = field(default_factory=dict)
    """Dropout of each module, kept because a recomputed forward must not draw again."""


class Stack:
    """All lanes' adapters of one module."""

    def __init__(self, name: str, lanes: Sequence[LaneAdapters], *, four_bit: bool) -> None:
        self.name = name
        self.four_bit = four_bit
        self.lanes = [lane.lane for lane in lanes]
        own = [lane.modules[name] for lane in lanes]
        self.scales = {lane.lane: adapter.scale for lane, adapter in zip(lanes, own, strict=True)}
        self.ranks = {lane.lane: len(adapter.down) for lane, adapter in zip(lanes, own, strict=True)}
        rank = max(self.ranks.values())
        self.down, self.down_grad = _joined([adapter.down for adapter in own], rank)
        self.up, self.up_grad = _joined([adapter.up for adapter in own], rank)
        self._cast: tuple[torch.Tensor, torch.Tensor] | None = None
        self._pages: dict[tuple[int, ...], Pages] = {}

    def weights(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Both in the compute dtype, pages x rank x size; `forget_casts` after they have changed."""
        if dtype == self.down.dtype:
            return self.down, self.up
        if self._cast is None:
            self._cast = self.down.to(dtype), self.up.to(dtype)
        return self._cast

    def forget_casts(self) -> None:
        """The weights have changed."""
        self._cast = None

    def pages(self, lanes: tuple[int, ...]) -> Pages:
        """Pages of those of the lanes that are here.

        Without the zeros that fill up the rank of lanes that are not read: they change the order of a sum.
        """
        # The same lanes are read again and again, by every module: a GPU would wait for so much looking up.
        if lanes not in self._pages:
            self._pages[lanes] = self._found(set(lanes))
        return self._pages[lanes]

    def _found(self, wanted: set[int]) -> Pages:
        here = {page: lane for page, lane in enumerate(self.lanes) if lane in wanted}
        runs: list[tuple[int, int]] = []
        for page in here:
            start = runs.pop()[0] if runs and runs[-1][1] == page else page
            runs.append((start, page + 1))
        rank = max((self.ranks[lane] for lane in here.values()), default=0)
        return Pages(tuple(here.values()), tuple(runs), rank)


def _joined(weights: Sequence[torch.nn.Parameter], rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pages of several weights, and of their gradients; the parameters become the first rows of their pages.

    Rows beyond a lane's own rank are zero and stay so: their gradients are made of products with them.
    """
    pages = weights[0].data.new_zeros(len(weights), rank, weights[0].shape[-1])
    grads = torch.zeros_like(pages)
    for number, weight in enumerate(weights):
        own = slice(0, len(weight))
        pages[number, own] = weight.data
        if weight.grad is not None:
            grads[number, own] = weight.grad
        weight.data = pages[number, own]
        weight.grad = grads[number, own]
    return pages, grads


class Stacks:
    """The adapters of all seated lanes, attached to the base model's modules by hooks."""

    def __init__(self, base: torch.nn.Module, dtype: torch.dtype) -> None:
        self._base = base
        self._dtype = dtype
        self._stacks: dict[str, Stack] = {}
        self._handles: list[Any] = []
        self._batch: _Batch | None = None
        # Adapters are no leaves of the graph; this is, so that the first layer's are differentiated too.
        device = next(base.parameters()).device
        self._anchor = torch.zeros((), device=device, requires_grad=True)

    def arrange(self, lanes: Sequence[LaneAdapters]) -> None:
        """Lanes have come or gone: these are seated, in this order."""
        self.detach()
        names = dict.fromkeys(name for lane in lanes for name in lane.modules)
        for name in names:
            module = self._base.get_submodule(name)
            stack = Stack(
                name, [lane for lane in lanes if name in lane.modules], four_bit=isinstance(module, Linear4bit)
            )
            self._stacks[name] = stack
            self._handles.append(module.register_forward_hook(_Hook(self, stack)))

    def detach(self) -> None:
        """Leave the base model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stacks.clear()

    def forget_casts(self) -> None:
        """Weights have changed."""
        for stack in self._stacks.values():
            stack.forget_casts()

    @contextmanager
    def reading(self, packed: Packed, adapters: Sequence[LaneAdapters], *, trains: bool) -> Iterator[None]:
        """Let the hooks know what is being read, until its gradients have been taken."""
        self._batch = _Batch(packed, adapters, trains)
        try:
            yield
        finally:
            self._batch = None

    def add(self, stack: Stack, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """What a module gives with its adapters."""
        batch = self._batch
        if batch is None:
            return output
        pages = stack.pages(batch.packed.lanes)
        if not pages.lanes:
            return output
        layout, dropout = self._layout(batch, stack, pages.lanes), self._dropout(batch, stack, inputs)
        kept = self._kept(batch, layout, inputs, dropout)
        added: torch.Tensor = Product.apply(
            output, inputs, self._anchor, (stack, pages, layout), kept, dropout, self._dtype
        )
        return added

    @torch.no_grad()
    def _kept(self, batch: _Batch, layout: Layout, inputs: torch.Tensor, dropout: torch.Tensor | None) -> torch.Tensor:
        """What dropout leaves of a module's inputs, lane by lane."""
        if dropout is not None:
            return layout.spread((inputs[0].float() * dropout).to(self._dtype))
        if batch.last is None or batch.last[0] is not inputs or batch.last[1] is not layout:
            batch.last = inputs, layout, layout.spread(inputs[0].to(self._dtype))
        return batch.last[2]

    def _layout(self, batch: _Batch, stack: Stack, lanes: tuple[int, ...]) -> Layout:
        """Where the lanes' tokens stand; modules of the same lanes and scales share one."""
        scales = tuple(stack.scales[lane] for lane in lanes)
        if (lanes, scales) not in batch.layouts:
            spans = {share.lane: (first, last) for share, first, last in batch.packed.spans()}
            batch.layouts[lanes, scales] = Layout(
                [spans[lane] for lane in lanes],
                scales,
                batch.packed.size,
                dtype=self._dtype,
                device=self._anchor.device,
            )
        return batch.layouts[lanes, scales]

    def _dropout(self, batch: _Batch, stack: Stack, inputs: torch.Tensor) -> torch.Tensor | None:
        """What inputs are multiplied by: 0 or 1 / (1 - p), drawn as a lane alone would draw it; none without dropout.

        A trainer alone draws for its padded batch, so padding is drawn for here as well and left out.
        """
        if not batch.trains or not any(lane.dropout and stack.name in lane.modules for lane in batch.adapters):
            return None
        if stack.name not in batch.dropped:
            # PEFT drops an input as float32, but as it is over 4 bits under autocast, by which it means CUDA's.
            dropped = inputs.dtype if stack.four_bit and torch.is_autocast_enabled() else torch.float32
            parts = [
                drawn(lane.generator, lane.dropout, [len(row.tokens) for row in share.rows], inputs.shape[-1], dropped)
                if lane.dropout and stack.name in lane.modules
                else inputs.new_ones((length, inputs.shape[-1]), dtype=torch.float32)
                for lane, share, length in zip(
                    batch.adapters, batch.packed.shares, batch.packed.lane_lengths, strict=True
                )
            ]
            batch.dropped[stack.name] = torch.cat(parts)
        return batch.dropped[stack.name]


class _Hook:
    """What a module runs after its own forward."""

    def __init__(self, stacks: Stacks, stack: Stack) -> None:
        self._stacks, self._stack = stacks, stack

    def __call__(self, _: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return self._stacks.add(self._stack, inputs[0], output)
