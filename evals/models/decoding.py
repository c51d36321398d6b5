"""Greedy generation that never waits for the longest answer.

Rows stand in slots. One that ends, at a stop string, at the end-of-turn token or at its length, makes room for the
next prompt at once. Prompts with the same beginning go on from one recorded prefix. What is generated for a prompt
is what it would get alone in a batch: with other rows beside it, lm-evaluation-harness lets a row that has met its
stop string run on, and cuts the text afterwards.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from evals.models.caches import Recorded, Slots
from evals.models.engine import Engine
from evals.models.memory import is_out_of_memory
from evals.models.prefix import cluster, find_leaves
from evals.models.rows import plain_row, stack_rows


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one row starts from, and how far it may go."""

    tokens: tuple[int, ...]
    max_new_tokens: int
    ends: Callable[[Sequence[int]], bool]
    """Whether the tokens generated so far complete the answer."""


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    number: int
    adapter: int
    generated: list[int] = field(default_factory=list)
    done: bool = False

    def append(self, token: int) -> None:
        self.generated.append(token)
        self.done = len(self.generated) >= self.prompt.max_new_tokens or self.prompt.ends(self.generated)


def generate(
    engine: Engine, prompts: Sequence[Prompt], *, batch_size: int, on_answer: Callable[[int], None]
) -> list[list[list[int]]]:
    """Generate from each prompt with each adapter of the engine: adapters by prompts by tokens.

    Where memory runs out, the answers that are not done are begun again with half as many at a time.
    """
    done: dict[tuple[int, int], list[int]] = {}
    size = min(batch_size, len(prompts)) * engine.copies
    while True:
        try:
            for row in _Decoder(engine, prompts, size, done.keys()).rows():
                done[row.number, row.adapter] = row.generated
                on_answer(int(all((row.number, copy) in done for copy in range(engine.copies))))
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        else:
            return [[done[number, copy] for number in range(len(prompts))] for copy in range(engine.copies)]
        size //= 2
        engine.give_way()


class _Decoder:
    """Slots, and the prompts that wait for one."""

    def __init__(self, engine: Engine, prompts: Sequence[Prompt], size: int, done: Collection[tuple[int, int]]) -> None:
        """`done` are answers that are not wanted any more, by prompt and adapter."""
        self.engine = engine
        self.capacity = max((len(prompt.tokens) + prompt.max_new_tokens for prompt in prompts), default=0)
        self.waiting: deque[tuple[tuple[int, ...], _Row]] = deque(
            (prefix, row) for prefix, row in self._ordered(prompts) if (row.number, row.adapter) not in done
        )
        self.seats: list[_Row | None] = [None] * min(size, len(self.waiting))
        self.slots: Slots | None = None
        self.prefix: tuple[int, ...] = ()
        self.past: Recorded | None = None

    def rows(self) -> Iterator[_Row]:
        """Each row when it is done."""
        while self.waiting or any(self.seats):
            yield from self._refill()
            if self.slots is not None and any(self.seats):
                yield from self._step(self.slots)

    def _ordered(self, prompts: Sequence[Prompt]) -> Iterator[tuple[tuple[int, ...], _Row]]:
        """Every prompt with its shared prefix, prefix by prefix, the longest first."""
        leaves, hosts = find_leaves([prompt.tokens for prompt in prompts], [len(one.tokens) - 1 for one in prompts])
        by_leaf: dict[int, list[int]] = {}
        for number, host in enumerate(hosts):
            by_leaf.setdefault(host, []).append(number)
        for found in cluster(leaves):
            members = [number for pack in found.packs for leaf in pack for number in by_leaf[leaf]]
            for number in sorted(members, key=lambda number: -len(prompts[number].tokens)):
                for adapter in range(self.engine.copies):
                    yield found.prefix, _Row(prompts[number], number, adapter)

    def _refill(self) -> Iterator[_Row]:
        """Read waiting prompts of one prefix into the free slots. Gives those that are done at their first token."""
        free = deque(place for place, row in enumerate(self.seats) if row is None)
        while self.waiting and free:
            self._turn_to(self.waiting[0][0])
            rows: list[_Row] = []
            while self.waiting and len(rows) < len(free) and self.waiting[0][0] == self.prefix:
                rows.append(self.waiting.popleft()[1])
            recorded = self._read(rows)
            self.slots = self.slots or Slots(len(self.seats), self.capacity, recorded)
            for place, row in enumerate(rows):
                if row.done:
                    yield row
                else:
                    self._seat(self.slots, free.popleft(), row, recorded, place)

    def _seat(self, slots: Slots, slot: int, row: _Row, recorded: Recorded, place: int) -> None:
        length = len(self.prefix)
        parts = [(recorded, place, len(row.prompt.tokens) - length)]
        if self.past is not None:
            parts.insert(0, (self.past, row.adapter, length))
        slots.fill(slot, parts)
        self.seats[slot] = row

    def _turn_to(self, prefix: tuple[int, ...]) -> None:
        if prefix != self.prefix:
            self.prefix, self.past = prefix, self.engine.read_prefix(prefix)

    def _read(self, rows: Sequence[_Row]) -> Recorded:
        """Read the prompts less their prefix, and choose each row's first token."""
        length = len(self.prefix)
        laid = [plain_row(row.prompt.tokens[length:], length) for row in rows]
        last = [len(row.tokens) - 1 for row in laid]
        adapters = [row.adapter for row in rows]
        logits, recorded = self.engine.read(stack_rows(laid), adapters, self.past, range(len(rows)), last)
        _choose(rows, logits)
        return recorded

    def _step(self, slots: Slots) -> Iterator[_Row]:
        """One more token for every row. Gives the rows that end with it, and frees their slots."""
        taken = [place for place, row in enumerate(self.seats) if row is not None]
        if len(taken) < len(self.seats):
            # Nobody waits for the free ones.
            slots.keep(taken)
        rows = [row for row in self.seats if row is not None]
        logits = self.engine.step(slots, [row.generated[-1] for row in rows], [row.adapter for row in rows])
        _choose(rows, logits)
        self.seats = [None if row.done else row for row in rows]
        yield from (row for row in rows if row.done)


def _choose(rows: Sequence[_Row], logits: torch.Tensor) -> None:
    for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
        row.append(token)
