"""Scores of a trial that was run again against the recorded ones, each difference beside the noise that is known."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evals.items import Item
from evals.result import EvalResult, Metric, Noise
from sweep.rerun.comparison import Agreement, Row

NORMAL_95 = 1.96
"""Standard errors on each side that hold 95 % of a normal distribution."""
SAME_SUM = 1e-9
"""Relative difference that the order of a sum alone makes."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """A result with its items."""

    result: EvalResult
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class KnownNoise:
    """How far scores of this study move without a cause."""

    floor: Mapping[str, Noise]
    """By metric, what scoring the base model twice changed."""
    seeds: Mapping[str, float]
    """By metric, the largest difference between two seeds of the same config."""
    rounding: Mapping[str, float] = field(default_factory=dict)
    """By metric, half of the 95 % interval of what rounding in training makes of it."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One metric's items in both runs."""

    then: Numbers
    now: Numbers
    weights: Numbers

    def mean(self, values: Numbers) -> float:
        return float(np.sum(self.weights * values) / np.sum(self.weights))

    @property
    def differences(self) -> Numbers:
        return self.now - self.then

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean difference over items, as a ratio of sums (Cochran, chapter 6)."""
        count = len(self.then)
        if count < 2:  # noqa: PLR2004 - one item has no spread
            return 0.0
        residuals = self.weights * (self.differences - self.mean(self.differences))
        stderr = math.sqrt(float(np.sum(residuals**2)) * count / (count - 1)) / float(np.sum(self.weights))
        return NORMAL_95 * stderr


def compare_scores(recorded: Scored, now: Scored, noise: KnownNoise) -> list[Row]:
    """One row a metric, those of groups last, since they follow from their tasks'."""
    names = dict.fromkeys([*recorded.result.metrics, *now.result.metrics])
    pairs = {name: _pair(name, recorded.items, now.items) for name in names}
    alone = [name for name in names if pairs[name] is not None]
    rows = [_row(name, recorded.result, now.result, pairs[name], noise, ()) for name in alone]
    return rows + [_row(name, recorded.result, now.result, None, noise, rows) for name in names if name not in alone]


def rounding_noise(one: Scored, other: Scored) -> dict[str, float]:
    """How far each metric moves between two trainings that only rounding tells apart: half of the 95 % interval.

    The variance of a mean of differences is at most the mean of their variances, whatever correlates them, and the mean
    of the squared differences between these two trainings estimates that.
    """
    pairs = ((name, _pair(name, one.items, other.items)) for name in one.result.metrics)
    return {name: NORMAL_95 * math.sqrt(pair.mean(pair.differences**2)) for name, pair in pairs if pair is not None}


def _row(  # noqa: PLR0913, PLR0917
    name: str, recorded: EvalResult, now: EvalResult, pairs: _Pairs | None, noise: KnownNoise, others: Sequence[Row]
) -> Row:
    then, found = recorded.metrics.get(name), now.metrics.get(name)
    if then is None or found is None:
        missing = "the rerun has no such score" if found is None else "the record has no such score"
        return Row("scores", name, _value(then), _value(found), "differs", missing, decides=True)
    agreement, why = _judge(name, then, found, pairs, noise, others)
    return Row("scores", name, _value(then), _value(found), agreement, why, decides=True)


def _judge(  # noqa: PLR0913, PLR0917
    name: str, then: Metric, now: Metric, pairs: _Pairs | None, noise: KnownNoise, others: Sequence[Row]
) -> tuple[Agreement, str]:
    if then.value == now.value or (math.isnan(then.value) and math.isnan(now.value)):
        return "same", ""
    if pairs is not None and _misstates(then, now, pairs):
        return "differs", f"the recorded items give {pairs.mean(pairs.then):.6g}, not what the record says"
    difference = now.value - then.value
    reasons = [
        _floor_covers(noise.floor.get(name), pairs),
        _items_cover(pairs),
        _seeds_cover(noise, name, difference),
        _rounding_covers(noise, name, difference),
    ]
    found = next((reason for reason in reasons if reason), None) or _follows(name, difference, others)
    if found:
        return "within noise", f"{difference:+.3g}, {found}"
    return "differs", f"{difference:+.3g}, {_beyond(noise, name, pairs)}"


def _misstates(then: Metric, now: Metric, pairs: _Pairs) -> bool:
    """Whether a record's number is not the mean of its own items, where the rerun's is that of its own."""
    is_mean = math.isclose(pairs.mean(pairs.now), now.value, rel_tol=SAME_SUM, abs_tol=SAME_SUM)
    return is_mean and not math.isclose(pairs.mean(pairs.then), then.value, rel_tol=SAME_SUM, abs_tol=SAME_SUM)


def _floor_covers(floor: Noise | None, pairs: _Pairs | None) -> str | None:
    if floor is None or pairs is None or floor.flipped == 0:
        return None
    flipped = float(np.mean(pairs.differences != 0))
    if flipped > floor.flipped or float(np.max(np.abs(pairs.differences))) > floor.largest:
        return None
    return f"as little as the base model scored twice ({flipped:.1%} of the items flip, {floor.flipped:.1%} there)"


def _items_cover(pairs: _Pairs | None) -> str | None:
    if pairs is None:
        return None
    if abs(pairs.mean(pairs.differences)) <= pairs.half_width:
        return f"within ±{pairs.half_width:.2g}, the noise of {len(pairs.then):,} paired items"
    return None


def _seeds_cover(noise: KnownNoise, name: str, difference: float) -> str | None:
    spread = noise.seeds.get(name)
    return None if spread is None or abs(difference) > spread else f"within {spread:.2g}, the spread over seeds"


def _rounding_covers(noise: KnownNoise, name: str, difference: float) -> str | None:
    carried = noise.rounding.get(name)
    if carried is None or abs(difference) > carried:
        return None
    return f"within ±{carried:.2g}, which rounding in training makes, as its rows packed otherwise show"


def _follows(name: str, difference: float, others: Sequence[Row]) -> str | None:
    """A score without items of its own, such as a group's, follows from those of its tasks where these agree."""
    metric = name.partition("/")[2]
    behind = [row for row in others if row.name.partition("/")[2] == metric]
    moved = [abs(float(row.now) - float(row.recorded)) for row in behind if row.agreement == "within noise"]
    if not moved or any(row.agreement == "differs" for row in behind) or abs(difference) > max(moved) * (1 + 1e-3):
        return None
    return "which follows from tasks that agree"


def _beyond(noise: KnownNoise, name: str, pairs: _Pairs | None) -> str:
    known = [] if pairs is None else [f"paired items allow ±{pairs.half_width:.2g}"]
    if (floor := noise.floor.get(name)) is not None:
        known.append(f"the base model scored twice flips {floor.flipped:.1%}")
    if (spread := noise.seeds.get(name)) is not None:
        known.append(f"seeds differ by {spread:.2g}")
    if (carried := noise.rounding.get(name)) is not None:
        known.append(f"rounding in training makes ±{carried:.2g}")
    return "; ".join(known) or "and nothing is known that moves it"


def _pair(name: str, recorded: Sequence[Item], now: Sequence[Item]) -> _Pairs | None:
    """The items that a metric has in both runs, the same questions side by side."""
    task, _, rest = name.partition("/")
    metric, comma, filtered_by = rest.rpartition(",")
    metric, filtered_by = (metric, filtered_by) if comma else (rest, "none")
    then, found = (
        {
            (item.doc_id, item.doc_hash): item
            for item in items
            if item.task == task and item.filter == filtered_by and metric in item.scores
        }
        for items in (recorded, now)
    )
    shared = sorted(then.keys() & found.keys())
    if not shared:
        return None
    return _Pairs(
        then=np.array([then[key].scores[metric] for key in shared]),
        now=np.array([found[key].scores[metric] for key in shared]),
        weights=np.array([then[key].weights.get(metric, 1.0) for key in shared]),
    )


def _value(metric: Metric | None) -> str:
    return "none" if metric is None else f"{metric.value:.6g}"
