"""What a study will be able to show: the smallest true difference that its items and seeds can detect.

For two methods that answer the same n items, with p the share of right answers and r the correlation of their answers,
a paired difference has the standard error sqrt(2 p (1 - p) (1 - r) / n) (Miller 2024, arXiv 2411.00640, section 5).
Training again moves each method by the seeds' standard deviation s, so that k seeds add 2 s^2 / k to its square. A
difference is found with 80 % power at 5 %, two-sided, where it is 1.96 + 0.84 standard errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import norm

from evals.result import Metric

CORRELATION = 0.7
"""Of two models' answers to the same items, where nothing tells."""
LEVEL, POWER = 0.05, 0.8
STANDARD_ERRORS = float(norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER))
"""2.80: how far from zero a difference must be, in its standard errors."""


@dataclass(frozen=True, slots=True)
class Power:
    """One task's items and seeds, and how answers to it scatter."""

    items: int
    seeds: int
    variance: float
    """Of one answer's score: p (1 - p) for right and wrong ones."""
    correlation: float = CORRELATION
    seed_sd: float = 0.0
    """Standard deviation of a score between seeds."""
    paired_variance: float | None = None
    """Of the paired difference of one item, where it was measured."""

    @property
    def item_variance(self) -> float:
        """Of the paired difference of one item."""
        if self.paired_variance is not None:
            return self.paired_variance
        return 2 * self.variance * (1 - self.correlation)

    @property
    def seed_variance(self) -> float:
        """What seeds add to the squared standard error; averaging over seeds leaves the items' part as it is."""
        return 2 * self.seed_sd**2 / self.seeds

    @property
    def detectable(self) -> float:
        """Smallest difference found with 80 % power."""
        return STANDARD_ERRORS * math.sqrt(self.item_variance / self.items + self.seed_variance)

    def items_to_halve(self) -> int | None:
        """Items with which half the difference would be found; none where the seeds alone prevent it."""
        room = (self.detectable / 2 / STANDARD_ERRORS) ** 2 - self.seed_variance
        return math.ceil(self.item_variance / room - 1e-9) if room > 1e-15 else None  # noqa: PLR2004 - rounding

    def halved_by(self) -> str:
        """What would halve the difference, in words."""
        needed = self.items_to_halve()
        if self.seed_variance == 0:
            return f"four times the items ({4 * self.items:,})"
        if needed is not None and needed <= 100 * self.items:
            return f"{needed:,} items, or {4 * self.items:,} items and {4 * self.seeds} seeds"
        return f"{4 * self.items:,} items and {4 * self.seeds} seeds; more items alone cannot"


def proportion_power(
    items: int, seeds: int, *, proportion: float = 0.5, correlation: float = CORRELATION, seed_sd: float = 0.0
) -> Power:
    """Power for right and wrong answers. Half of them right is the worst case."""
    return Power(items, max(seeds, 1), proportion * (1 - proportion), correlation, seed_sd)


def metric_power(metric: Metric, items: int, seeds: int, *, seed_sd: float = 0.0) -> Power | None:
    """Power for a metric that the base model was scored on: its answers scatter as its error says."""
    if metric.stderr is None or not math.isfinite(metric.stderr) or metric.n < 2:  # noqa: PLR2004
        return None
    return Power(items, max(seeds, 1), metric.stderr**2 * metric.n, CORRELATION, seed_sd)


def seed_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """Pooled standard deviation between seeds, from the scores of each method's seeds; none where no method has two."""
    freedom = sum(len(scores) - 1 for scores in groups if scores)
    if freedom <= 0:
        return None
    squares = sum((score - fmean(scores)) ** 2 for scores in groups if scores for score in scores)
    return math.sqrt(squares / freedom)
