"""Labels as numbers, for a metric of all labels together, and the best constant answer found out again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evals.tasks.aggregate import NO_LABEL as UNNAMED
from evals.tasks.aggregate import macro_f1
from reports.sides import MetricName, Side, TaskItems
from reports.statistics.clusters import Codes, Floats
from reports.statistics.macro import NO_LABEL

CLOSE = 1e-9


def label_codes(everyone: Sequence[TaskItems], metric: str) -> Mapping[str, int]:
    """A number for every label that any model was asked for or gave."""
    pairs = [pair for items in everyone for pair in items.labels[metric] if pair is not None]
    names = sorted({label for pair in pairs for label in pair} - {UNNAMED})
    return {UNNAMED: NO_LABEL} | {name: place for place, name in enumerate(names)}


def given_labels(items: TaskItems, metric: str, codes: Mapping[str, int]) -> Floats:
    """The label that one model gave to each item; not a number where it was not asked."""
    return np.array([math.nan if pair is None else codes[pair[1]] for pair in items.labels[metric]], dtype=float)


def expected_labels(items: TaskItems, metric: str, codes: Mapping[str, int], places: Sequence[int]) -> Codes:
    """The label expected of the items at these places, each of which has one."""
    pairs = items.labels[metric]
    return np.array([codes[pair[0]] for place in places if (pair := pairs[place]) is not None], dtype=np.intp)


def constant_side(side: Side, name: MetricName, score: float, constant: str) -> Side | None:
    """What gives one label to every item that a side answered, and so has this score; none where no label has."""
    found = side.with_metric(name)
    pairs = [pair for pair in found[0].labels[name.metric] if pair is not None] if found else []
    for label in sorted({expected for expected, _ in pairs} - {UNNAMED}):
        answered = [(expected, label) for expected, _ in pairs]
        if math.isclose(macro_f1(answered), score, rel_tol=CLOSE, abs_tol=CLOSE):
            again = tuple(None if pair is None else (pair[0], label) for pair in found[0].labels[name.metric])
            items = replace(found[0], labels={name.metric: again})
            return Side(constant, is_trained=False, models=({(name.task, name.filter): items},))
    return None
