"""Is one better than the other? Better, worse, equivalent within a margin, or undecided: always with an interval.

A contrast compares two named sides on one metric, item by item. Headline contrasts, those on the deciding metric, are
corrected together by Holm's method; all others together by Benjamini and Hochberg's.
"""

from dataclasses import dataclass
from typing import Literal

from reports.statistics import Interval

Outcome = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference between two sides on one metric, over the items that both answered."""

    metric: str
    """`task/metric`, as scores are named."""
    one: str
    """Name of the first side, such as a method."""
    other: str
    """Name of the second side: a method, or the base model."""
    difference: float
    """Score of the first less that of the second, in the metric's own direction and unit."""
    interval: Interval
    """95 % interval of the difference, from item and seed noise together."""
    p_value: float
    """Two-sided, uncorrected."""
    test: str
    """What gave the p-value: `exact McNemar`, `sign-flip permutation` or `clustered sign-flip permutation`."""
    items: int
    """Pairs of items."""
    clusters: int | None
    """Groups of items that are not independent; none where every item is its own."""
    seeds: tuple[int, int]
    """Trained models on each side."""
    item_stderr: float
    """Standard error of the difference from the choice of items, clustered where items share a group."""
    seed_stderr: float
    """Standard error of the difference from training again; 0 where a side has no second seed."""
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a contrast says, in view of all others."""

    contrast: Contrast
    outcome: Outcome
    """Of the first side: better or worse than the second, equivalent to it, or undecided."""
    adjusted_p_value: float
    """Corrected for the number of contrasts."""
    correction: Literal["Holm", "Benjamini-Hochberg"]
    is_headline: bool
    """Whether the metric is the one that methods are ranked by."""
    margin: float | None
    """Difference that counts as none, fixed in the study; none where the metric has no margin."""
    detectable: float
    """Smallest true difference that these items and seeds would have shown with 80 % power at 5 %."""
    items_needed: int | None
    """Items that would decide an undecided contrast were the difference as observed; none where nothing is open."""
    sentence: str
    """The verdict for a person to quote."""
