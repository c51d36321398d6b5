"""The difference between two sides on one metric, as a number with its error: no verdict yet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evals.result import Metric
from reports.labels import constant_side
from reports.pairing import Paired, pair
from reports.sides import LABELLED, MetricName, Side
from reports.statistics import Interval, Models, Reference, difference
from reports.statistics.clusters import Floats
from reports.statistics.difference import TAIL, SeedNoise, score_error

BASE_MODEL = "base model"
CONSTANT_ANSWER = "best constant answer"
UNPAIRED_TEST = "t, pairing unknown"


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
    side is one model; `t over items and seeds` where a side was trained more than once; `paired bootstrap over items`,
    `and seeds` where it was, for a macro F1, which is no mean over items; `t, pairing unknown` against a constant
    answer whose items are not recorded."""
    items: int
    """Pairs of items."""
    clusters: int | None
    """Groups of items that are not independent; none where every item is its own."""
    seeds: tuple[int, int]
    """Models on each side; the base model and a constant answer count one."""
    item_stderr: float
    """Standard error of the difference from the choice of items, clustered where items share a group."""
    seed_stderr: float
    """Standard error of the difference from training again; 0 where no side has a second seed."""
    seed_noise: SeedNoise
    """Whether training again is accounted for: `none` where nothing was trained; `borrowed` where one side has a single
    seed and is taken to vary like the other; `unknown` where every trained side has a single seed."""
    higher_is_better: bool
    is_proportion: bool
    """Whether scores lie between 0 and 1, so that differences are told in points and the study's `margin` applies."""
    unpaired: tuple[int, int]
    """Items that only the first, or only the second, side has; they are left out."""
    centre: float
    """Middle of the interval."""
    reference: Reference
    """Distribution of the difference over its standard error."""
    part_of: str | None = None
    """The group that the metric's task belongs to, such as `mmlu`; none for a task of its own."""

    def as_part_of(self, group: str) -> "Contrast":
        """The same, set aside as a part of a group."""
        return replace(self, part_of=group)

    @property
    def stderr(self) -> float:
        """Standard error from both kinds of noise."""
        return math.hypot(self.item_stderr, self.seed_stderr)

    @property
    def advantage(self) -> float:
        """How much better the first side is: the difference, positive where it is the better one."""
        return self.difference if self.higher_is_better else -self.difference


def contrast(
    one: Side, other: Side, name: MetricName, *, higher_is_better: bool, tasks: Sequence[str] = ()
) -> Contrast | None:
    """Compare two sides on one metric, or on a group's over all its tasks; none where they share too few items."""
    found = pair(one, other, name, tasks)
    return None if found is None else _of_pair(found, (one.name, other.name), str(name), higher_is_better)


def against_constant(side: Side, name: MetricName, constant: Metric) -> Contrast | None:
    """Compare a side with the best constant answer.

    Its answers are not recorded item by item, but where one expected answer is as frequent as its score says, that is
    the answer that it gave. Elsewhere the error is the largest that any pairing could have.
    """
    if name.metric in LABELLED:
        answering = constant_side(side, name, constant.value, CONSTANT_ANSWER)
        return None if answering is None else contrast(side, answering, name, higher_is_better=True)
    found = pair(side, side, name)
    if found is None:
        return None
    names = (side.name, CONSTANT_ANSWER)
    right = rightly_constant(found, constant)
    if right is not None:
        nothing = Models(right[None, :], is_trained=False)
        paired = Paired(
            found.one, nothing, found.design, (0, 0), is_bounded=True, targets=found.targets, keys=found.keys
        )
        return _of_pair(paired, names, str(name), constant.higher_is_better)
    return _unpaired(found, names, str(name), constant)


def _of_pair(found: Paired, names: tuple[str, str], metric: str, higher_is_better: bool) -> Contrast:  # noqa: FBT001
    result = difference(found.one, found.other, found.design, is_bounded=found.is_bounded)
    return Contrast(
        metric=metric,
        one=names[0],
        other=names[1],
        scores=(float(found.one.values.mean()), float(found.other.values.mean())),
        difference=result.value,
        interval=result.interval,
        p_value=result.p_value,
        test=result.test,
        items=found.items,
        clusters=found.design.cluster_count,
        seeds=(found.one.count, found.other.count),
        item_stderr=result.item_stderr,
        seed_stderr=result.seed_stderr,
        seed_noise=result.seed_noise,
        higher_is_better=higher_is_better,
        is_proportion=found.is_bounded,
        unpaired=found.unpaired,
        centre=result.centre,
        reference=result.reference,
    )


def rightly_constant(found: Paired, constant: Metric) -> Floats | None:
    """Which items a constant answer has right, if its score is the share of items that expect one answer."""
    count = len(found.targets)
    is_binary = bool(np.isin(found.one.values, (0.0, 1.0)).all())
    if constant.n != count or not is_binary:
        return None
    right = constant.value * count
    answers = np.asarray([target.strip() for target in found.targets], dtype=object)
    frequencies = {str(answer): int((answers == answer).sum()) for answer in sorted(set(answers))}
    answer = next((answer for answer, times in frequencies.items() if math.isclose(times, right, abs_tol=1e-6)), None)
    return None if answer is None else (answers == answer).astype(float)


def _unpaired(found: Paired, names: tuple[str, str], metric: str, constant: Metric) -> Contrast | None:
    """Two scores whose pairing is not known: the standard errors add up, as if they moved against each other."""
    if constant.stderr is None:
        return None
    nothing = Models(np.full_like(found.one.values[:1], constant.value), is_trained=False)
    alone = difference(found.one, nothing, found.design, is_bounded=False)
    items, seeds = score_error(found.one, found.design)
    item_stderr = math.sqrt(items.variance) + constant.stderr
    total = math.hypot(item_stderr, math.sqrt(seeds))
    half = alone.reference.quantile(TAIL) * total
    return Contrast(
        metric=metric,
        one=names[0],
        other=names[1],
        scores=(float(found.one.values.mean()), constant.value),
        difference=alone.value,
        interval=Interval(alone.value - half, alone.value + half),
        p_value=alone.reference.two_sided(alone.value / total) if total > 0 else float(alone.value == 0),
        test=UNPAIRED_TEST,
        items=found.items,
        clusters=found.design.cluster_count,
        seeds=(found.one.count, 1),
        item_stderr=item_stderr,
        seed_stderr=math.sqrt(seeds),
        seed_noise=alone.seed_noise,
        higher_is_better=constant.higher_is_better,
        is_proportion=found.is_bounded,
        unpaired=(0, 0),
        centre=alone.value,
        reference=alone.reference,
    )
