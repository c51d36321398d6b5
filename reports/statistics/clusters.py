"""The error of a mean whose items share groups, and of a weighted mean over strata.

Items of one customer or one document rise and fall together, so that 500 of them may be worth 50. Miller ("Adding
Error Bars to Evals", arXiv 2411.00640) asks for clustered errors in evaluations; with few groups the plain sandwich
(CR0, Liang and Zeger 1986) is too small, and its degrees of freedom are those of the groups. CR1 multiplies by
G / (G - 1); CR2 (Bell and McCaffrey 2002) divides each group's residual by the square root of what it is short of,
which for a mean is 1 - n / N, and is exact for items that are independent. Degrees of freedom are Bell and
McCaffrey's as well, for groups whose items agree wholly, which is the least that they can be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
"""The group of each item, as a number from 0 on."""
Correction = Literal["CR0", "CR1", "CR2"]
SMALLEST_STRATUM = 2
"""A variance needs two."""


@dataclass(frozen=True, slots=True)
class MeanError:
    """The squared standard error of a mean, and how well it is known."""

    variance: float
    df: float
    """Degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Design:
    """How items depend on each other: all independent, in groups, or drawn separately within strata."""

    clusters: Codes | None = None
    """Groups of items that are not independent."""
    strata: Codes | None = None
    """Parts that were fixed beforehand, such as MMLU's subjects, whose differences are no chance."""

    def restricted(self, kept: NDArray[np.bool_]) -> "Design":
        """The same for some of the items."""
        return Design(_recoded(self.clusters, kept), _recoded(self.strata, kept))

    @property
    def cluster_count(self) -> int | None:
        """Groups; none where items are independent."""
        return None if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def drawn_strata(self) -> Codes | None:
        """The strata within which items are drawn; none where groups are, or where a stratum holds a single item."""
        if self.clusters is not None or self.strata is None or np.bincount(self.strata).min() < SMALLEST_STRATUM:
            return None
        return self.strata

    def error_of_mean(self, values: Floats) -> MeanError:
        """The error of the mean of these items."""
        if self.clusters is not None and self.cluster_count != len(values):
            return clustered_error(values, self.clusters)
        if self.strata is not None:
            return stratified_error(values, self.strata)
        return independent_error(values)


@dataclass(frozen=True, slots=True)
class Replicated(Design):
    """How a score that is no mean over items varies with them: by resampling.

    Values are then no items: each is the score over items drawn anew, moved so that the mean of all is the score as
    it is. Their variance is the squared error of the score.
    """

    items: int = 0
    """Items that were drawn from."""
    differing: int = 0
    """Items to which not all models gave the same answer."""

    def error_of_mean(self, values: Floats) -> MeanError:
        """The error of the score."""
        units = self.cluster_count
        if units is None or self.clusters is None or units == self.items:
            return MeanError(float(values.var(ddof=1)), self.items - 1)
        return MeanError(float(values.var(ddof=1)), _cluster_df(np.bincount(self.clusters) / self.items))


def codes_of(names: list[str]) -> Codes:
    """Names as numbers."""
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1]


def independent_error(values: Floats) -> MeanError:
    """The error of a mean of independent items."""
    return MeanError(float(values.var(ddof=1)) / len(values), len(values) - 1)


def stratified_error(values: Floats, strata: Codes) -> MeanError:
    """The error of a mean over strata in proportion to their sizes (Cochran, Sampling Techniques, chapter 5).

    Degrees of freedom are Satterthwaite's. Strata of one item have no variance of their own: then all items are taken
    as one sample, which can only be too careful.
    """
    sizes = np.bincount(strata)
    if sizes.min() < SMALLEST_STRATUM:
        return independent_error(values)
    means = np.bincount(strata, values) / sizes
    within = np.bincount(strata, (values - means[strata]) ** 2) / (sizes - 1)
    parts = (sizes / len(values)) ** 2 * within / sizes
    total = float(parts.sum())
    squared = float((parts**2 / (sizes - 1)).sum())
    return MeanError(total, total**2 / squared if squared > 0 else float(len(values) - len(sizes)))


def clustered_error(values: Floats, clusters: Codes, correction: Correction = "CR2") -> MeanError:
    """The error of a mean of items in groups, with small-sample correction."""
    count = len(values)
    sizes = np.bincount(clusters)
    residuals = np.bincount(clusters, values - values.mean())
    groups = len(sizes)
    factors: Mapping[Correction, Floats] = {
        "CR0": np.ones(groups),
        "CR1": np.full(groups, groups / (groups - 1)),
        "CR2": 1 / (1 - sizes / count),
    }
    variance = float((residuals**2 * factors[correction]).sum()) / count**2
    return MeanError(variance, _cluster_df(sizes / count))


def _cluster_df(shares: Floats) -> float:
    """Bell and McCaffrey's degrees of freedom of CR2 for a mean, where the items of a group are all alike.

    CR2 is a quadratic form in the groups' effects with matrix A' W A, where A takes the mean off and W = n² / (1 - n);
    its degrees of freedom are trace² / trace of the square.
    """
    centre = np.eye(len(shares)) - shares
    if len(shares) > LARGE:
        # The matrix would be large, and the correction no longer matters.
        return float((shares**2).sum() ** 2 / (shares**4).sum())
    form = centre.T @ np.diag(shares**2 / (1 - shares)) @ centre
    return float(np.trace(form) ** 2 / (form * form.T).sum())


LARGE = 400


def _recoded(codes: Codes | None, kept: NDArray[np.bool_]) -> Codes | None:
    return None if codes is None else np.unique(codes[kept], return_inverse=True)[1]


def design_effect(values: Floats, clusters: Codes) -> float:
    """How many times larger the groups make the variance of the mean (Kish 1965); 1 for independent items."""
    plain = independent_error(values).variance
    return clustered_error(values, clusters).variance / plain if plain > 0 else math.nan
