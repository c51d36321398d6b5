"""Item noise and seed noise by resampling: a second way to the errors of `reports.statistics.difference`.

A hierarchical bootstrap draws seeds within each side and items (or whole groups of them) across both, since models
share their items (Davison and Hinkley, Bootstrap Methods and their Application, section 3.8).
"""

from dataclasses import dataclass

import numpy as np

from reports.statistics.clusters import Codes, Floats
from reports.statistics.difference import Models
from reports.statistics.scores import Interval

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Resampled:
    """Spread of a difference under resampling."""

    item_stderr: float
    """Items drawn anew, seeds kept."""
    seed_stderr: float
    """Seeds drawn anew, items kept; interaction with the items is still in it."""
    stderr: float
    """Both drawn anew."""
    interval: Interval
    """Percentiles of both drawn anew. With few seeds it is too narrow: the analytic interval is the one to quote."""


def hierarchical_bootstrap(
    one: Models, other: Models, *, seed: int, clusters: Codes | None = None, resamples: int = RESAMPLES
) -> Resampled:
    """Resample items and seeds, apart and together.

    Drawing from n seeds gives (n - 1) / n of their variance, which with three seeds is far off: deviations are
    stretched to make up for it.
    """
    generator = np.random.default_rng(seed)
    items = _item_shares(one.values.shape[1], clusters, generator, resamples)
    seeds = [_seed_weights(models, generator, resamples) for models in (one, other)]
    kept = np.full((1, one.values.shape[1]), 1 / one.values.shape[1])
    of_items = (one.values.mean(axis=0) - other.values.mean(axis=0)) @ items.T
    of_seeds = _drawn(one, seeds[0], kept) - _drawn(other, seeds[1], kept)
    of_both = _drawn(one, seeds[0], items) - _drawn(other, seeds[1], items)
    low, high = np.quantile(of_both, (0.025, 0.975))
    return Resampled(
        item_stderr=float(of_items.std(ddof=1)),
        seed_stderr=float(of_seeds.std(ddof=1)),
        stderr=float(of_both.std(ddof=1)),
        interval=Interval(float(low), float(high)),
    )


def _item_shares(items: int, clusters: Codes | None, generator: np.random.Generator, resamples: int) -> Floats:
    """How much each item counts in each resample; rows add up to 1."""
    codes = np.arange(items) if clusters is None else clusters
    groups = int(codes.max()) + 1
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples)[:, codes].astype(float)
    shares: Floats = drawn / drawn.sum(axis=1, keepdims=True)
    return shares


def _seed_weights(models: Models, generator: np.random.Generator, resamples: int) -> Floats:
    """How much each model counts in each resample."""
    count = models.count
    if not models.is_trained or count == 1:
        return np.full((resamples, count), 1 / count)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    stretched: Floats = 1 / count + (drawn - 1 / count) * np.sqrt(count / (count - 1))
    return stretched


def _drawn(models: Models, seeds: Floats, items: Floats) -> Floats:
    drawn: Floats = np.einsum("rs,sr->r", seeds, models.values @ np.broadcast_to(items, (len(seeds), items.shape[1])).T)
    return drawn
