"""Find what token sequences have in common, so that it is computed once.

Nothing here knows of tasks: two questions share their examples when their first tokens are the same, and two choices
share a question likewise. Sequences are sorted, neighbours compared, and the cut that saves most tokens is taken.
What a reader gets wrong: a prefix may end only before the first position whose logits are asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

FORWARD_TOKENS = 64
"""Tokens that one more forward is worth: a shared prefix must save more than that."""
PACK_TOKENS = 1024
"""Most tokens that the further branches of one pack may add to its row."""


@dataclass(slots=True)
class Leaf:
    """A sequence that has to be read, and no other sequence continues it."""

    tokens: tuple[int, ...]
    first: int
    """First position whose logits are asked for."""
    shared: int = 0
    """Tokens in common with the leaf before it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Packs that start with the same tokens."""

    prefix: tuple[int, ...]
    """What they share; empty where sharing does not pay."""
    packs: tuple[tuple[int, ...], ...]
    """Leaves by number. A pack is one row of a batch: the leaves that continue one context, as branches."""


def find_leaves(inputs: Sequence[tuple[int, ...]], firsts: Sequence[int]) -> tuple[list[Leaf], list[int]]:
    """The sequences that are no beginning of another, sorted, and for each input the leaf that contains it."""
    unique = sorted(set(inputs), key=_sort_key)
    numbers = {tokens: number for number, tokens in enumerate(unique)}
    first = [len(tokens) for tokens in unique]
    for tokens, start in zip(inputs, firsts, strict=True):
        first[numbers[tokens]] = min(first[numbers[tokens]], start)
    shared = [0, *(common_length(one, other) for one, other in pairwise(unique))]
    leaves: list[Leaf] = []
    hosts = [0] * len(unique)
    for number, tokens in enumerate(unique):
        if number + 1 < len(unique) and shared[number + 1] == len(tokens):
            # The next one begins with it: its positions are read there.
            first[number + 1] = min(first[number + 1], first[number])
            shared[number + 1] = shared[number]
            hosts[number] = -1
            continue
        leaves.append(Leaf(tokens, first[number], shared[number]))
        hosts[number] = len(leaves) - 1
    for number in reversed(range(len(unique))):
        hosts[number] = hosts[number + 1] if hosts[number] < 0 else hosts[number]
    return leaves, [hosts[numbers[tokens]] for tokens in inputs]


def cluster(leaves: Sequence[Leaf]) -> list[Cluster]:
    """Pack leaves of one context, and gather packs under the prefixes that save most."""
    packs = list(_packs(leaves))
    boundaries = [leaves[pack[0]].shared for pack in packs]
    limits = [min(leaves[number].first for number in pack) for pack in packs]
    clusters, left = [], set(range(len(packs)))
    for cut in _best_cuts(boundaries, limits):
        members = range(cut.start, cut.end)
        left -= set(members)
        prefix = leaves[packs[cut.start][0]].tokens[: cut.depth]
        clusters.append(Cluster(prefix, tuple(packs[number] for number in members)))
    if left:
        clusters.append(Cluster((), tuple(packs[number] for number in sorted(left))))
    return clusters


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that two sequences start with in common."""
    length = min(len(one), len(other))
    differs = np.flatnonzero(np.asarray(one[:length]) != np.asarray(other[:length]))
    return int(differs[0]) if differs.size else length


def _sort_key(tokens: tuple[int, ...]) -> bytes:
    # Big-endian bytes sort like the numbers, and compare many times faster than tuples.
    return np.asarray(tokens, dtype=">u4").tobytes()


def _packs(leaves: Sequence[Leaf]) -> Iterable[tuple[int, ...]]:
    pack: list[int] = []
    branches = 0
    for number, leaf in enumerate(leaves):
        added = len(leaf.tokens) - leaf.shared
        if pack and _same_context(leaves[number - 1], leaf) and branches + added <= PACK_TOKENS:
            pack.append(number)
            branches += added
            continue
        if pack:
            yield tuple(pack)
        pack, branches = [number], 0
    if pack:
        yield tuple(pack)


def _same_context(one: Leaf, other: Leaf) -> bool:
    return one.first == other.first < other.shared


@dataclass(slots=True)
class _Cut:
    depth: int
    start: int
    end: int


@dataclass(slots=True)
class _Interval:
    """Neighbouring packs that share at least `depth` tokens, and the best that is known of cutting within it."""

    depth: int
    start: int
    limit: int
    saved: int = 0
    cuts: list[_Cut] = field(default_factory=list)

    def absorb(self, other: "_Interval") -> None:
        self.limit = min(self.limit, other.limit)
        self.saved += other.saved
        self.cuts += other.cuts

    def close(self, end: int) -> None:
        depth = min(self.depth, self.limit)
        saved = depth * (end - self.start - 1) - FORWARD_TOKENS
        if saved > self.saved:
            self.saved, self.cuts = saved, [_Cut(depth, self.start, end)]


def _best_cuts(boundaries: Sequence[int], limits: Sequence[int]) -> list[_Cut]:
    """Disjoint groups of neighbours, each with its prefix, that save most tokens in all.

    Walks the tree of common-prefix intervals from its leaves up with a stack (Abouelhoda, Kurtz and Ohlebusch 2004):
    each interval is cut as a whole, or as its parts were, whichever saves more.
    """
    stack: list[_Interval] = []
    last = _Interval(0, 0, 0)
    for end in range(1, len(limits) + 1):
        last = _Interval(limits[end - 1], end - 1, limits[end - 1])
        boundary = boundaries[end] if end < len(limits) else -1
        while stack and stack[-1].depth > boundary:
            stack[-1].absorb(last)
            last = stack.pop()
            last.close(end)
        if stack and stack[-1].depth == boundary:
            stack[-1].absorb(last)
        else:
            parent = _Interval(boundary, last.start, last.limit)
            parent.absorb(last)
            stack.append(parent)
    return last.cuts
