"""Macro F1, which is no mean over items, by resampling them.

F1 of one label is `2 * right / (expected + given)`, and macro F1 the plain mean over all labels that were expected or
given: one item changes what every other item of its label counts. All models are scored on the same drawn items, so
that what they find equally hard cancels out of their difference (the paired bootstrap of Koehn, EMNLP 2004). Whoever
compares models reads off the resamples how scores vary with the items, and off the models how they vary with training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from reports.statistics.bootstrap import item_weights, stretched
from reports.statistics.clusters import Codes, Design, Floats, Replicated

RESAMPLES = 2_000
SEED = 20_261_101
NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Labelled:
    """Expected and given labels as numbers from 0 on; `NO_LABEL` where none was named."""

    expected: Codes
    """One for each item."""
    given: Codes
    """Models by items."""

    @property
    def labels(self) -> int:
        """How many labels there are."""
        return int(max(self.expected.max(), self.given.max())) + 1

    @property
    def differing(self) -> int:
        """Items to which not all models gave the same answer."""
        return int((self.given != self.given[0]).any(axis=0).sum())


def macro_f1s(labelled: Labelled, weights: Floats) -> Floats:
    """Macro F1 of each model, models by resamples, where items count as often as each row of weights says.

    A label that is neither expected nor given in a resample is none of its labels.
    """
    expected = _sums(labelled.expected, labelled.labels, weights)
    found = []
    for given in labelled.given:
        right = _sums(np.where(given == labelled.expected, given, NO_LABEL), labelled.labels, weights)
        both = expected + _sums(given, labelled.labels, weights)
        present = both > 0
        shares = np.divide(2 * right, both, out=np.zeros_like(both), where=present)
        found.append(shares.sum(axis=0) / present.sum(axis=0))
    return np.array(found)


def replicates(labelled: Labelled, design: Design, *, seed: int = SEED, resamples: int = RESAMPLES) -> Floats:
    """Macro F1 of each model over items drawn anew, models by resamples, centred on the scores as they are."""
    items = len(labelled.expected)
    scores = macro_f1s(labelled, np.ones((1, items)))
    drawn = item_weights(design, items, np.random.default_rng(seed), resamples)
    found = np.concatenate([macro_f1s(labelled, weights) for weights in drawn], axis=1)
    moved: Floats = scores + (found - found.mean(axis=1, keepdims=True)) * stretched(design, items)
    return moved


def replicated(labelled: Labelled, design: Design) -> Replicated:
    """The design of those resamples."""
    return Replicated(clusters=design.clusters, items=len(labelled.expected), differing=labelled.differing)


def _sums(codes: Codes, labels: int, weights: Floats) -> Floats:
    """How much each label counts in each resample: labels by resamples."""
    places: NDArray[np.intp] = np.flatnonzero(codes != NO_LABEL)
    ones = np.ones(len(places))
    members = sparse.csr_array((ones, (codes[places], places)), shape=(labels, len(codes)))
    summed: Floats = np.asarray(members @ weights.T)
    return summed
