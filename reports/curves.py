"""Loss by optimizer step, as training logged it, and what its course says.

A validation loss that ends above its best while the training loss still fell is overfitting. Two bars keep noise out:
the rise has to be 2 % of the best loss or more, and more than the loss's standard error over the validation items,
where that is known. All validations of a run share their items, so the true noise of the rise is smaller than that.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from reports.gather import Gathered, MethodRecords
from reports.wording import number
from sweep.record import TrialRecord
from sweep.tracking.payload import read_steps

Course = Literal["memorising noise", "overfitting", "still falling", "settled", "cannot be told"]

SMALLEST_RISE = 0.02
"""Share of the best validation loss that a rise has to reach."""
STILL_FALLING = 0.02
"""Share by which the last validation has to lie below the one before."""
NEAR_ZERO = 0.05
"""Training loss, in nats per token, below which a model knows its rows by heart."""
LAST_SHARE = 0.1
"""Share of the steps that a training loss is averaged over: single batches are noisy."""
FEWEST_VALIDATIONS = 2


@dataclass(frozen=True, slots=True)
class Point:
    """A loss at an optimizer step."""

    step: float
    loss: float


@dataclass(frozen=True, slots=True)
class Curves:
    """One run's losses, in nats per token."""

    record: TrialRecord
    train: tuple[Point, ...]
    """Of single batches."""
    validation: tuple[Point, ...]
    noise: float | None
    """Standard error of the validation loss over its items, where the run was scored on them."""

    @property
    def best(self) -> Point | None:
        """The lowest validation loss; the earliest of equals."""
        return min(self.validation, key=lambda point: (point.loss, point.step), default=None)

    @property
    def rise(self) -> float | None:
        """Last validation loss less the lowest."""
        return None if self.best is None else self.validation[-1].loss - self.best.loss

    @property
    def gap(self) -> float | None:
        """Last validation loss less the training loss at the end."""
        end = self.train_near(None)
        return None if end is None or not self.validation else self.validation[-1].loss - end

    def train_near(self, step: float | None) -> float | None:
        """Training loss, averaged over a tenth of the run up to a step, or up to the end."""
        if not self.train:
            return None
        last = self.train[-1].step if step is None else step
        width = LAST_SHARE * self.train[-1].step
        near = [point.loss for point in self.train if last - width < point.step <= last]
        before = [point.loss for point in self.train if point.step <= last]
        return fmean(near) if near else (before[-1] if before else None)


def read_curves(gathered: Gathered, record: TrialRecord) -> Curves:
    """The losses that a run logged; empty where it logged none. Values that are no numbers are left out."""
    train: list[Point] = []
    validation: list[Point] = []
    for row in read_steps(gathered.directory(record).steps):
        for name, points in (("loss", train), ("validation_loss", validation)):
            if "step" in row and name in row and math.isfinite(row[name]):
                points.append(Point(row["step"], row[name]))
    return Curves(record, tuple(train), tuple(validation), _noise(record))


def finalists(gathered: Gathered, method: MethodRecords) -> list[Curves]:
    """The losses of a method's best trial, then those of its repetitions."""
    best = [] if method.best is None else [method.best]
    return [read_curves(gathered, record) for record in (*best, *method.confirm)]


def course(curves: Curves) -> Course:
    """Name what the losses did."""
    best, rise = curves.best, curves.rise
    if best is None or rise is None or len(curves.validation) < FEWEST_VALIDATIONS:
        return "cannot be told"
    end, then = curves.train_near(None), curves.train_near(best.step)
    fell = end is not None and then is not None and end < then
    if fell and rise >= max(SMALLEST_RISE * best.loss, curves.noise or 0.0):
        return "memorising noise" if end is not None and end < NEAR_ZERO else "overfitting"
    before, last = curves.validation[-2].loss, curves.validation[-1].loss
    return "still falling" if before - last >= STILL_FALLING * before else "settled"


def sentence(name: str, curves: Curves) -> str | None:
    """What a reader should know about this course; none where there is nothing to say."""
    found, best = course(curves), curves.best
    if best is None or curves.rise is None:
        return None
    end, then = curves.train_near(None), curves.train_near(best.step)
    if found in ("overfitting", "memorising noise") and end is not None and then is not None:
        text = (
            f"{name} overfits: its validation loss rose by {number(curves.rise)} from its best, {number(best.loss)} at "
            f"step {best.step:,.0f}, while its training loss fell by {number(then - end)}"
        )
        if found == "memorising noise":
            return f"{text} to {number(end)}, near zero: it learns single rows by heart, their errors among them."
        return f"{text}. Fewer epochs, a lower rate or more rows would help."
    if found == "still falling":
        drop = curves.validation[-2].loss - curves.validation[-1].loss
        return (
            f"{name} had not finished learning: its validation loss fell by {number(drop)} between its last two "
            "validations. More steps may help."
        )
    return None


def shortened(points: Sequence[Point], limit: int) -> list[Point]:
    """At most so many points, each the mean of a stretch of steps of equal length; short curves stay as they are."""
    if len(points) <= limit:
        return list(points)
    ends = [round(place * len(points) / limit) for place in range(limit + 1)]
    stretches = [points[start:end] for start, end in itertools.pairwise(ends)]
    return [
        Point(fmean(point.step for point in stretch), fmean(point.loss for point in stretch)) for stretch in stretches
    ]


def _noise(record: TrialRecord) -> float | None:
    """Standard error of the loss on the validation items: a run of the search is scored on them."""
    if record.evaluation is None or record.config.split != "validation":
        return None
    metric = record.evaluation.metrics.get("own/loss")
    return None if metric is None or metric.stderr is None or not math.isfinite(metric.stderr) else metric.stderr
