"""Is one better than the other? Better, worse, equivalent within a margin, or undecided: always with an interval.

A contrast compares two named sides on one metric, item by item. Headline contrasts, those on the deciding metric, are
corrected together by Holm's method; all others together by Benjamini and Hochberg's; those on the parts of a group,
such as MMLU's subjects, stand aside in a family of their own.
"""

from dataclasses import dataclass
from typing import Literal

from reports.statistics import Interval
from reports.statistics.difference import SeedNoise

Outcome = Literal["better", "worse", "equivalent", "undecided"]
BASE_MODEL = "base model"
CONSTANT_ANSWER = "best constant answer"


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference between two sides on one metric, over the items that both answered."""

    metric: str
    """`task/metric`, as scores are named."""
    one: str
    """Name of the first side: a method."""
    other: str
    """Name of the second side: a method, `BASE_MODEL` or `CONSTANT_ANSWER`."""
    scores: tuple[float, float]
    """Each side's score on the shared items, the mean over its models."""
    difference: float
    """Score of the first less that of the second, in the metric's own direction and unit."""
    interval: Interval
    """95 % interval of the difference, from item and seed noise together."""
    p_value: float
    """Two-sided, uncorrected."""
    test: str
    """What gave the p-value: `exact McNemar`, `sign-flip permutation` or `clustered sign-flip permutation` where each
    side is one model; `t over items and seeds` where a side was trained more than once; `t, pairing unknown`."""
    items: int
    """Pairs of items."""
    clusters: int | None
    """Groups of items that are not independent; none where every item is its own."""
    seeds: tuple[int, int]
    """Models on each side; the base model and a constant answer count one."""
    item_stderr: float
    """Standard error of the difference from the choice of items, clustered where items share a group."""
    seed_stderr: float
    """Standard error of the difference from training again; 0 where a side has no second seed."""
    higher_is_better: bool
    seed_noise: SeedNoise
    """Whether training again is accounted for: `none` where nothing was trained; `borrowed` where one side has a single
    seed and is taken to vary like the other; `unknown` where every trained side has a single seed."""
    unpaired: tuple[int, int]
    """Items that only the first, or only the second, side has; they are left out."""
    is_proportion: bool
    """Whether scores lie between 0 and 1, so that differences are told in points and `margin` applies."""
    part_of: str | None = None
    """The group that the metric's task belongs to, such as `mmlu`; none for a task of its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a contrast says, in view of all others."""

    contrast: Contrast
    outcome: Outcome
    """Of the first side: better or worse than the second, equivalent to it, or undecided."""
    adjusted_p_value: float
    """Corrected for the number of contrasts."""
    equivalence_p_value: float | None
    """That the sides differ by the margin or more, corrected the same way; none without a margin."""
    correction: Literal["Holm", "Benjamini-Hochberg"]
    family: int
    """Contrasts that were corrected together."""
    is_headline: bool
    """Whether the metric is the one that methods are ranked by."""
    margin: float | None
    """Difference that counts as none, fixed in the study; none where the metric has no margin."""
    detectable: float
    """Smallest true difference that these items and seeds would have shown with 80 % power at 5 %."""
    items_needed: int | None
    """Items that would decide an undecided contrast were the difference as observed; none where nothing is open, and
    where no number of items would."""
    seeds_needed: int | None
    """The same for trained models on each side."""
    sentence: str
    """The verdict for a person to quote."""
