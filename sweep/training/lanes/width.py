"""How many lanes share a forward: the number at which a token takes least time, found from rounds that count anyway.

Widths of 1, 2, 4 and so on are tried in turn, each for a few forwards, the first of which warms up and is left out.
A wider one has to be faster to be kept. What is known stands until the number of lanes has changed much.
"""

from collections import defaultdict
from statistics import median

TRIES = 3
"""Forwards for each width, the first of them to warm up."""
GAIN = 0.98
"""Share of the best time per token that a wider forward has to undercut; ties go to the narrower one."""


class Width:
    """Chooses how many lanes share a forward."""

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self._limit: int | None = None
        self._times: dict[int, list[float]] = defaultdict(list)
        self._population = 0
        self._candidates: list[int] = []
        self.found: int | None = fixed

    def reconsider(self, population: int) -> None:
        """Lanes have come or gone."""
        if self._fixed is not None:
            return
        if population > 2 * self._population or 2 * population < self._population:
            self._population = population
            self._times.clear()
            self._candidates = _doubling(population)
            self.found = None

    def limit(self, width: int) -> None:
        """Memory ran out above this width, for good."""
        self._limit = width if self._limit is None else min(self._limit, width)
        if self.found is not None:
            self.found = min(self.found, self._limit)

    def next(self, population: int) -> int:
        """Lanes of the next forward."""
        wanted = self.found if self.found is not None else self._trial()
        if self._limit is not None:
            wanted = min(wanted, self._limit)
        return max(1, min(wanted, population))

    def note(self, lanes: int, tokens: int, seconds: float) -> None:
        """A forward and backward of so many lanes and tokens took so long."""
        if self.found is None and tokens:
            self._times[lanes].append(seconds / tokens)

    def _trial(self) -> int:
        for width in self._candidates:
            if self._limit is not None and width > self._limit:
                break
            if len(self._times[width]) < TRIES:
                return width
        best, least = 1, float("inf")
        for width in sorted(self._times):
            times = self._times[width][1:]
            if times and median(times) < GAIN * least:
                best, least = width, median(times)
        self.found = best
        return best


def _doubling(population: int) -> list[int]:
    """Widths worth trying, the widest first: most trials gain from it, and each is tried at once."""
    widths = [1]
    while widths[-1] * 2 < population:
        widths.append(widths[-1] * 2)
    return sorted({*widths, population}, reverse=True) if population > 1 else [1]
