"""The difference of two sides over the items that both answered, with item noise and seed noise apart.

Each side has one or several models; all answered the same items. In a design where seeds and items cross (Searle,
Casella and McCulloch, Variance Components, chapter 4), the variance of the difference of means is

    items:  how the difference varies from item to item, over the number of items; clustered where items share a group
    seeds:  how a side's mean varies from model to model, over the number of models, for each side that was trained

The second holds the first's interaction with seeds once more (three models that err on different items have different
means without any better seed), which is estimated from the items and taken off, down to 0 at the least.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.statistics.clusters import Codes, Design, Floats, MeanError, Replicated
from reports.statistics.paired import mcnemar, sign_flip
from reports.statistics.reference import Reference
from reports.statistics.scores import Interval

SeedNoise = Literal["none", "measured", "borrowed", "unknown"]
TAIL = 0.025
ROUNDING = 1e-12
PERMUTATION_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Models:
    """Scores of one side's models on the shared items."""

    values: Floats
    """Models by items; their mean over items is the score. Ratios of sums are linearized; of scores that are neither
    there are resamples instead of items."""
    is_trained: bool
    """Whether training again would give another model; not so for a base model."""

    @property
    def count(self) -> int:
        """How many models there are."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its error."""

    value: float
    """Score of the first side less that of the second."""
    centre: float
    """Middle of the interval: for bounded metrics a little nearer to 0 than the value."""
    item_stderr: float
    seed_stderr: float
    seed_noise: SeedNoise
    reference: Reference
    """What the difference over its error is measured by."""
    p_value: float
    test: str
    """What gave the p-value."""

    @property
    def stderr(self) -> float:
        """Both kinds of noise together."""
        return math.hypot(self.item_stderr, self.seed_stderr)

    @property
    def interval(self) -> Interval:
        """95 % interval."""
        half = self.reference.quantile(TAIL) * self.stderr
        return Interval(min(self.value, self.centre - half), max(self.value, self.centre + half))


@dataclass(frozen=True, slots=True)
class SeedError:
    """The squared standard error from training again."""

    variance: float
    """Interaction with items taken off."""
    raw: float
    """Before that."""
    df: float
    noise: SeedNoise


def difference(one: Models, other: Models, design: Design, *, is_bounded: bool) -> Difference:
    """Compare two sides. Needs two items that do not share a group.

    `is_bounded` says that the metric lies between 0 and 1. Its error is then never 0, however alike the answers are:
    as in Bonett and Price's interval (Journal of Educational and Behavioral Statistics 37, 2012), one item more is
    taken to differ in each direction.
    """
    of_items = one.values.mean(axis=0) - other.values.mean(axis=0)
    value = float(of_items.mean())
    # Equal scores whose sums were rounded apart are equal.
    value = 0.0 if abs(value) < ROUNDING else value
    error = design.error_of_mean(of_items)
    centre, item_variance = value, error.variance
    if is_bounded:
        centre, item_variance = _with_two_more(of_items, item_variance, design)
    seeds = seed_error(one, other, design)
    total = item_variance + seeds.variance
    share = seeds.raw / (item_variance + seeds.raw) if seeds.raw > 0 else 0.0
    reference = Reference(item_df=max(1.0, error.df), seed_df=seeds.df, seed_share=share)
    p_value, test = _tested(one, other, design, centre / math.sqrt(total) if total > 0 else 0.0, reference)
    return Difference(
        value=value,
        centre=centre,
        item_stderr=math.sqrt(item_variance),
        seed_stderr=math.sqrt(seeds.variance),
        seed_noise=seeds.noise,
        reference=reference,
        p_value=p_value,
        test=test,
    )


def seed_error(one: Models, other: Models, design: Design) -> SeedError:
    """The part of the error that comes from training again; a side with a single seed varies like the other side."""
    trained = [models for models in (one, other) if models.is_trained]
    repeated = [models for models in trained if models.count > 1]
    if not repeated:
        return SeedError(0.0, 0.0, math.inf, "unknown" if trained else "none")
    single = len(trained) - len(repeated)
    raw = variance = squared = 0.0
    for models in repeated:
        # A single model of the other side adds the variance of one model.
        times = 1 + single * models.count
        between = float(models.values.mean(axis=1).var(ddof=1)) / models.count * times
        raw += between
        variance += between - _interaction(models, design) / models.count * times
        squared += between**2 / (models.count - 1)
    df = raw**2 / squared if squared > 0 else math.inf
    return SeedError(max(0.0, variance), raw, df, "borrowed" if single else "measured")


def score_error(models: Models, design: Design) -> tuple[MeanError, float]:
    """One side alone: the error of its score from the choice of items, and the variance from training again."""
    nothing = Models(np.zeros_like(models.values[:1]), is_trained=False)
    return design.error_of_mean(models.values.mean(axis=0)), seed_error(models, nothing, design).variance


def _interaction(models: Models, design: Design) -> float:
    """Variance of one model's mean that comes from its own errors on these items."""
    values = models.values
    own = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return sum(design.error_of_mean(residuals).variance for residuals in own) / (models.count - 1)


def _with_two_more(of_items: Floats, variance: float, design: Design) -> tuple[float, float]:
    """Centre and variance with one more item in each direction, which differs as much as differing items do."""
    if isinstance(design, Replicated):
        count, differing = design.items, design.differing
        size = count**2 * variance / differing if differing else 1.0
    else:
        count, unlike = len(of_items), of_items[of_items != 0]
        size = float((unlike**2).mean()) if len(unlike) else 1.0
    return float(of_items.mean()) * count / (count + 2), (count**2 * variance + 2 * size) / (count + 2) ** 2


def _tested(one: Models, other: Models, design: Design, statistic: float, reference: Reference) -> tuple[float, str]:
    """A p-value of both kinds of noise where a side has several models; else an exact one for these two models."""
    is_repeated = one.count > 1 or other.count > 1
    if isinstance(design, Replicated):
        return reference.two_sided(statistic), f"paired bootstrap over items{' and seeds' if is_repeated else ''}"
    if is_repeated:
        return reference.two_sided(statistic), "t over items and seeds"
    first, second = one.values[0], other.values[0]
    if design.clusters is None and _is_binary(first) and _is_binary(second):
        return mcnemar(int((first > second).sum()), int((second > first).sum())), "exact McNemar"
    clusters: Codes | None = design.clusters
    test = "sign-flip permutation" if clusters is None else "clustered sign-flip permutation"
    return sign_flip(first - second, seed=PERMUTATION_SEED, clusters=clusters), test


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
