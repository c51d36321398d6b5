"""Item noise and seed noise by resampling: a second way to the errors of `reports.statistics.difference`.

A hierarchical bootstrap draws seeds within each side and items across both, since models share their items (Davison
and Hinkley, Bootstrap Methods and their Application, section 3.8). Items are drawn as the design has it: each for
itself, whole groups where items share one, or anew within each stratum where the strata were fixed beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reports.statistics.clusters import Codes, Design, Floats
from reports.statistics.difference import Models
from reports.statistics.scores import Interval

RESAMPLES = 2_000
BLOCK = 4_000_000
"""Weights held at a time."""


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
    one: Models, other: Models, design: Design, *, seed: int, resamples: int = RESAMPLES
) -> Resampled:
    """Resample items and seeds, apart and together.

    Drawing from n seeds, groups or items gives (n - 1) / n of their variance, which with three seeds is far off:
    deviations are stretched to make up for it.
    """
    generator = np.random.default_rng(seed)
    means = resampled_means(np.concatenate([one.values, other.values]), design, generator, resamples)
    first, second = means[: one.count], means[one.count :]
    seeds = [_seed_weights(models, generator, resamples) for models in (one, other)]
    of_items = first.mean(axis=0) - second.mean(axis=0)
    of_seeds = seeds[0] @ one.values.mean(axis=1) - seeds[1] @ other.values.mean(axis=1)
    of_both = (seeds[0] * first.T).sum(axis=1) - (seeds[1] * second.T).sum(axis=1)
    low, high = np.quantile(of_both, (0.025, 0.975))
    return Resampled(
        item_stderr=float(of_items.std(ddof=1)),
        seed_stderr=float(of_seeds.std(ddof=1)),
        stderr=float(of_both.std(ddof=1)),
        interval=Interval(float(low), float(high)),
    )


def resampled_means(values: Floats, design: Design, generator: np.random.Generator, resamples: int) -> Floats:
    """Mean of each row over items drawn anew, rows by resamples, with the variance that the items have.

    Within strata deviations are stretched one by one (Rao and Wu 1988): small strata would lose most.
    """
    items = values.shape[1]
    centre = values.mean(axis=1, keepdims=True)
    strata = design.drawn_strata
    if strata is not None:
        sizes = np.bincount(strata)
        stretch = np.sqrt(sizes / (sizes - 1))[strata]
        blocks = [
            (values - centre) @ ((drawn - 1) * stretch).T / items
            for drawn in item_weights(design, items, generator, resamples)
        ]
        within: Floats = centre + np.concatenate(blocks, axis=1)
        return within
    blocks = [values @ drawn.T / drawn.sum(axis=1) for drawn in item_weights(design, items, generator, resamples)]
    means: Floats = centre + (np.concatenate(blocks, axis=1) - centre) * stretched(design, items)
    return means


def stretched(design: Design, items: int) -> float:
    """What a resampled deviation falls short of, where whole units are drawn from all units."""
    units = items if design.cluster_count is None else design.cluster_count
    return float(np.sqrt(units / (units - 1)))


def item_weights(design: Design, items: int, generator: np.random.Generator, resamples: int) -> Iterator[Floats]:
    """How often each item is drawn, in blocks of resamples by items."""
    step = max(1, BLOCK // items)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        if design.drawn_strata is not None:
            yield _within_strata(design.drawn_strata, generator, count)
        else:
            codes: Codes = np.arange(items) if design.clusters is None else design.clusters
            units = int(codes.max()) + 1
            yield generator.multinomial(units, np.full(units, 1 / units), size=count)[:, codes].astype(float)


def _within_strata(strata: Codes, generator: np.random.Generator, resamples: int) -> Floats:
    drawn = np.empty((resamples, len(strata)))
    for stratum in range(int(strata.max()) + 1):
        places = np.flatnonzero(strata == stratum)
        size = len(places)
        drawn[:, places] = generator.multinomial(size, np.full(size, 1 / size), size=resamples)
    return drawn


def _seed_weights(models: Models, generator: np.random.Generator, resamples: int) -> Floats:
    """How much each model counts in each resample."""
    count = models.count
    if not models.is_trained or count == 1:
        return np.full((resamples, count), 1 / count)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    widened: Floats = 1 / count + (drawn - 1 / count) * np.sqrt(count / (count - 1))
    return widened
