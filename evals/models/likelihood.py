"""Log-likelihoods of continuations, each shared token read once.

Requests of one context become one row, rows with the same beginning go on from one recorded prefix, and only positions
that predict a continuation reach the output layer. A batch holds `batch_size` rows; each row stands for every
continuation of its context, and short rows join others up to the longest one's length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from evals.models.caches import Recorded
from evals.models.engine import Engine
from evals.models.prefix import cluster, find_leaves
from evals.models.rows import Row, fill_batches, lay_out, stack_rows

SOFTMAX_ROWS = 512
"""Positions whose distributions over the vocabulary are held in float32 at a time."""


@dataclass(frozen=True, slots=True)
class Request:
    """Tokens to be read, and those to be expected at its end."""

    tokens: tuple[int, ...]
    """What the model reads: context and continuation, less the last token."""
    expected: tuple[int, ...]
    """The continuation. Its first token is predicted where it is last but `len(expected)` of what is read."""

    @property
    def first(self) -> int:
        """Position that predicts the first expected token."""
        return len(self.tokens) - len(self.expected)


Answer = tuple[float, bool]
"""Log-likelihood in nats, and whether every token was the likeliest one."""


def loglikelihoods(
    engine: Engine, requests: Sequence[Request], *, batch_size: int, on_answer: Callable[[int], None]
) -> list[list[Answer]]:
    """Answer requests for each adapter of the engine: adapters by requests."""
    leaves, hosts = find_leaves([request.tokens for request in requests], [request.first for request in requests])
    by_leaf: dict[int, list[int]] = {}
    for number, host in enumerate(hosts):
        by_leaf.setdefault(host, []).append(number)
    answers: list[list[Answer]] = [[(0.0, False)] * len(requests) for _ in range(engine.copies)]
    for found in cluster(leaves):
        past = engine.read_prefix(found.prefix)
        laid = [lay_out(leaves, pack, len(found.prefix)) for pack in found.packs]
        for rows in fill_batches(laid, batch_size):
            ask = partial(_ask, engine, requests, by_leaf, len(found.prefix), past)
            for copy, number, answer in engine.within_memory(ask, rows):
                answers[copy][number] = answer
                on_answer(int(copy == 0))
    return answers


def _ask(  # noqa: PLR0913, PLR0917
    engine: Engine,
    requests: Sequence[Request],
    by_leaf: dict[int, list[int]],
    prefix: int,
    past: Recorded | None,
    rows: Sequence[Row],
) -> list[tuple[int, int, Answer]]:
    """Read rows with every adapter. Gives answers, each with its adapter and the number of its request."""
    asked = _Asked(requests, by_leaf, rows, prefix)
    adapters = [copy for copy in range(engine.copies) for _ in rows]
    logits, _ = engine.read(stack_rows([*rows] * engine.copies), adapters, past, *asked.positions(engine.copies))
    return [
        (copy, number, answer)
        for copy, share in enumerate(logits.chunk(engine.copies))
        for number, answer in asked.answers(share)
    ]


class _Asked:
    """The positions of a batch that requests need, each once."""

    def __init__(
        self, requests: Sequence[Request], by_leaf: dict[int, list[int]], rows: Sequence[Row], prefix: int
    ) -> None:
        self.requests = requests
        self.rows = len(rows)
        self.places: dict[tuple[int, int], int] = {}
        self.wanted: list[tuple[int, list[int]]] = []
        for place, row in enumerate(rows):
            for leaf, path in row.columns.items():
                for number in by_leaf[leaf]:
                    request = requests[number]
                    columns = path[request.first - prefix : len(request.tokens) - prefix]
                    keys = [(place, column) for column in columns]
                    self.wanted.append((number, [self.places.setdefault(key, len(self.places)) for key in keys]))

    def positions(self, copies: int) -> tuple[list[int], list[int]]:
        """Rows and columns of the logits to compute, for the batch repeated for each adapter."""
        pairs = [(copy * self.rows + row, column) for copy in range(copies) for row, column in self.places]
        return [row for row, _ in pairs], [column for _, column in pairs]

    def answers(self, logits: torch.Tensor) -> Iterator[tuple[int, Answer]]:
        """Requests by number with their answers, from one adapter's logits."""
        places = [place for _, found in self.wanted for place in found]
        tokens = [token for number, _ in self.wanted for token in self.requests[number].expected]
        picked, likeliest = _pick(logits, places, tokens)
        start = 0
        for number, found in self.wanted:
            end = start + len(found)
            yield number, (float(picked[start:end].sum()), bool(likeliest[start:end].all()))
            start = end


def _pick(logits: torch.Tensor, places: list[int], tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each token at its place, and whether it is the likeliest there."""
    where = torch.tensor(places, device=logits.device)
    expected = torch.tensor(tokens, device=logits.device)
    normalizers = torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, SOFTMAX_ROWS)])
    picked = logits[where, expected].float() - normalizers[where]
    return picked.cpu(), (logits.argmax(-1)[where] == expected).cpu()
