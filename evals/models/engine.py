"""Forwards that compute only what is asked for: rows that go on from a shared prefix, and logits at chosen positions.

The model's own forward does the work. It is given a cache, a mask and positions, and what enters its output layer is
narrowed to the chosen positions, so that scaling and soft-capping of logits stay its own. Whether an architecture
takes all that is tried out once on a few tokens; one that does not is scored the plain way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from evals.models.caches import Reading, Recorded, Slots
from evals.models.memory import give_back, is_out_of_memory
from evals.models.prefix import cluster, find_leaves
from evals.models.rows import Batch, lay_out, plain_row, stack_rows
from evals.models.shared import going_on_from

Item = TypeVar("Item")
Found = TypeVar("Found")

ATTENTION = ("sdpa", "eager")
"""Back ends that take any mask."""
PROBE_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, NotImplementedError)
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.12}
"""Largest deviation of a probe's logits, as a share of their norm; rounding gives up to half of it, a wrong mask more
than twice as much."""


class Routing(Protocol):
    """Several adapters on one base model."""

    size: int
    """Number of adapters."""

    def route(self, adapters: Sequence[int]) -> None:
        """Say which adapter each row of the next forward belongs to."""


class Engine:
    """A causal model, and with it the adapters that a `Routing` mixes into one batch."""

    def __init__(self, model: Any, routing: Routing | None = None) -> None:  # noqa: ANN401
        self.model = model
        self.routing = routing
        self.copies = 1 if routing is None else routing.size
        self.ran_out = False
        """Whether memory has run out, so that fewer rows were read at a time than was asked for."""
        self._looks_apart = False

    @cached_property
    def fits(self) -> bool:
        """Whether this model takes prefixes, trees and chosen positions; tried out on the first call."""
        if self.device.type == "cpu" and self.model.config._attn_implementation == "sdpa":  # noqa: SLF001
            self._looks_apart = True
            if self._works():
                return True
            self._looks_apart = False
        return self._works()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @cached_property
    def layers(self) -> int:
        """Number of layers that attend."""
        return len(DynamicCache(config=self.model.config).layers)

    def within_memory(self, compute: Callable[[Sequence[Item]], list[Found]], items: Sequence[Item]) -> list[Found]:
        """What is computed of all items, in halves down to one by one where memory runs out."""
        try:
            return compute(items)
        except Exception as error:
            if len(items) == 1 or not is_out_of_memory(error):
                raise
        self.give_way()
        middle = len(items) // 2
        return self.within_memory(compute, items[:middle]) + self.within_memory(compute, items[middle:])

    def give_way(self) -> None:
        """Memory has run out: give back what nothing names any more, to go on with less."""
        self.ran_out = True
        give_back()

    def read_prefix(self, tokens: Sequence[int]) -> Recorded | None:
        """Read a prefix once for each adapter; nothing for no tokens."""
        if not tokens:
            return None
        ids = torch.tensor([tokens] * self.copies)
        cache = Reading(self.layers, None, None)
        self._forward(ids, cache, rows=[0], columns=[0], adapters=range(self.copies))
        return cache.recorded()

    def read(
        self,
        batch: Batch,
        adapters: Sequence[int],
        past: Recorded | None,
        rows: Sequence[int],
        columns: Sequence[int],
    ) -> tuple[torch.Tensor, Recorded]:
        """Read rows that go on from a prefix. Gives logits at (row, column) pairs, and what was read."""
        past_rows = torch.tensor(list(adapters), device=self.device)
        apart = past if past is not None and self._looks_apart and _in_blocks(adapters, past.rows) else None
        cache = Reading(self.layers, past, past_rows, apart=apart is not None)
        seen = batch.visible
        if past is not None and apart is None:
            seen = torch.cat([seen.new_ones(*seen.shape[:2], past.length), seen], dim=2)
        with nullcontext() if apart is None else going_on_from(self.model, apart):
            logits = self._forward(
                batch.ids, cache, rows=rows, columns=columns, adapters=adapters, positions=batch.positions, visible=seen
            )
        return logits, cache.recorded()

    def step(self, slots: Slots, tokens: Sequence[int], adapters: Sequence[int]) -> torch.Tensor:
        """Read one more token for each slot. Gives the logits of the next: slots by vocabulary."""
        logits = self._forward(
            torch.tensor(tokens)[:, None],
            slots,
            rows=range(len(tokens)),
            columns=[0] * len(tokens),
            adapters=adapters,
            positions=slots.lengths[:, None],
            visible=slots.visible(),
        )
        slots.advance()
        return logits

    @torch.no_grad()
    def _forward(  # noqa: PLR0913
        self,
        ids: torch.Tensor,
        cache: Cache,
        *,
        rows: Sequence[int],
        columns: Sequence[int],
        adapters: Sequence[int],
        positions: torch.Tensor | None = None,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if self.routing is not None:
            self.routing.route(adapters)
        arguments: dict[str, Any] = {"input_ids": ids.to(self.device), "past_key_values": cache, "use_cache": True}
        if positions is not None:
            arguments["position_ids"] = positions.to(self.device)
        if visible is not None:
            arguments["attention_mask"] = self._additive(visible.to(self.device))
        chosen = torch.tensor([list(rows), list(columns)], device=self.device)
        with self._narrowed(chosen[0], chosen[1]):
            logits: torch.Tensor = self.model(**arguments).logits
        return logits[0]

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        dtype = self.model.get_input_embeddings().weight.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]

    @contextmanager
    def _narrowed(self, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
        """Let only the chosen positions into the output layer."""

        def narrow(_: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (inputs[0][rows, columns][None], *inputs[1:])

        handle = self.model.get_output_embeddings().register_forward_pre_hook(narrow)
        try:
            yield
        finally:
            handle.remove()

    def _has_full_attention(self) -> bool:
        config = self.model.config
        layers = DynamicCache(config=config).layers
        return config._attn_implementation in ATTENTION and all(type(layer) is DynamicLayer for layer in layers)  # noqa: SLF001

    def _works(self) -> bool:
        try:
            return self._has_full_attention() and self._probe()
        except PROBE_ERRORS:
            return False

    def _probe(self) -> bool:
        """Compare every feature with plain forwards: a prefix, branches of several lengths, and single steps."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        stem = [(7 * number + 3) % vocabulary for number in range(6)]
        sequences = [(*stem, *((11 * number + 5 * turn) % vocabulary for number in range(2 + turn))) for turn in (1, 2)]
        plain = torch.stack([self._plain(sequence) for sequence in sequences])
        leaves, hosts = find_leaves(sequences, [len(stem) - 1] * len(sequences))
        packs = [pack for found in cluster(leaves) for pack in found.packs]
        cut = len(stem) - 2
        past = self.read_prefix(stem[:cut])
        row = lay_out(leaves, packs[0], cut)
        batch = stack_rows([row, plain_row(stem[cut:], cut)] * self.copies)
        adapters = [copy for copy in range(self.copies) for _ in range(2)]
        columns = [row.columns[host][-1] for host in hosts]
        branched, kept = self.read(batch, adapters, past, [0, 0], columns)
        if past is None:
            return False
        slots = Slots(2, 16, like=past)
        slots.fill(0, [(past, 0, cut), (kept, 1, 2)])
        slots.fill(1, [(past, 0, cut), (kept, 1, 1)])
        sequence = sequences[0]
        for offset in range(len(sequence) - len(stem)):
            tokens = [sequence[len(stem) + offset], sequence[len(stem) - 1 + offset]]
            stepped = self.step(slots, tokens, [0, 0])
        return _close(branched, plain) and _close(stepped[:1], plain[:1])

    @torch.no_grad()
    def _plain(self, sequence: Sequence[int]) -> torch.Tensor:
        if self.routing is not None:
            self.routing.route([0])
        logits: torch.Tensor = self.model(torch.tensor([sequence], device=self.device)).logits
        return logits[0, -1]


def _in_blocks(adapters: Sequence[int], recorded: int) -> bool:
    """Whether as many rows in a row go on from each of the recorded ones."""
    each = len(adapters) // recorded
    return list(adapters) == [number for number in range(recorded) for _ in range(each)]


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    tolerance = TOLERANCE[expected.dtype]
    found, expected = found.double(), expected.double()
    return bool((found - expected).norm() <= tolerance * (expected - expected.mean()).norm())
