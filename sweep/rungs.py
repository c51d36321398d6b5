"""Where a trial's rungs lie: the steps at which its validation loss is taken and a pruner may end it.

Trials are compared at the same number of rows seen. Where all trials of a method are equally long, that is a share of a
trial's own steps; where they differ, it is a share of the longest one's rows, the method's `horizon`. All read the same
rows, so the same number of rows is the same number of tokens, but for the order that they come in.

The last rung is a trial's end, whatever its length. There it is compared with nobody: its schedule has run down by
then, and another's may not have.
"""

import math
from dataclasses import dataclass

from sweep.spec import Horizon, ParamValue, StudySpec, TrainingSpec

WITHOUT_WARM_UP = frozenset({"constant"})
"""Schedules that begin at the peak rate, whatever `warmup_steps` says."""
DECAYING = ("linear", "cosine", "cosine_with_min_lr")
"""Schedules whose rate falls all along: what a loss is worth at a step depends on how many are to come."""
COMPARABLE = "warmup_stable_decay"
"""Under it, trials of different lengths have had the same rate until shortly before their ends (arXiv 2404.06395)."""
TOLERANCE = 1e-9
"""Shares are compared up to rounding."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A trial's length and its warm-up, both measured in rungs."""

    warm_up: float
    """A rung up to this one lies within the warm-up of the learning rate."""
    end: float
    """Where the trial ends; a trial that is shorter than the longest has fewer rungs before it."""


def rungs(training: TrainingSpec, rows: int) -> dict[int, int]:
    """Steps of a trial over so many rows at which a validation loss is taken, each with its rung, counted from 1.

    A step that passes several rungs is the highest of them.
    """
    steps, validations = training.planned_steps(rows), training.validations
    if training.horizon is None:
        return equal_rungs(steps, validations)
    apart = _rows_of(training.horizon, rows) / validations
    marks = {_step_that_reads(training, rows, index * apart): index for index in range(1, validations)}
    return {**{step: index for step, index in marks.items() if step < steps}, steps: validations}


def equal_rungs(steps: int, validations: int) -> dict[int, int]:
    """Rungs at equal shares of a trial's own steps."""
    return {math.ceil(index * steps / validations): index for index in range(1, validations + 1)}


def stretch(training: TrainingSpec, rows: int | None) -> Stretch:
    """How long a trial is, and its warm-up. Without the number of rows, as if they made whole steps."""
    validations, warm_up = training.validations, warm_up_share(training, rows)
    if training.horizon is None:
        return Stretch(validations * warm_up, validations)
    own = _share_of(training, training.horizon, rows)
    end = validations * min(own, 1.0)
    return Stretch(end * warm_up, end)


def warm_up_share(training: TrainingSpec, rows: int | None) -> float:
    """Share of a trial's steps in which its learning rate rises, as transformers counts them."""
    if training.lr_scheduler_type in WITHOUT_WARM_UP:
        return 0.0
    steps = training.max_steps if rows is None else training.planned_steps(rows)
    if steps is None:
        return training.warmup_steps if training.warmup_steps < 1 else 0.0
    rising = int(training.warmup_steps) if training.warmup_steps >= 1 else math.ceil(steps * training.warmup_steps)
    return min(rising / steps, 1.0)


def horizon(spec: StudySpec, method: str) -> Horizon | None:
    """Rows of a method's longest trial, where the search may choose trials of different lengths; none elsewhere."""
    if (given := spec.methods[method].training.horizon) is not None:
        return given
    epochs, steps, batches = (
        _choices(spec, method, key) for key in ("num_train_epochs", "max_steps", "effective_batch_size")
    )
    counted = steps - {None}
    by_epochs = epochs if None in steps else set()
    lengths = len(by_epochs) + len(counted) * len(batches)
    if lengths <= 1:
        return None
    return Horizon(
        passes=max((float(most) for most in by_epochs if most is not None), default=None),
        rows=max(int(most or 0) for most in counted) * max(int(most or 0) for most in batches) if counted else None,
    )


def schedule_notes(spec: StudySpec) -> list[str]:
    """A sentence for each method whose trials are pruned by losses that their lengths make unequal.

    Under a decaying schedule a short trial has a lower rate than a long one after the same rows, and a lower loss for
    that alone (arXiv 2203.15556, appendix B).
    """
    if spec.pruner.name == "none":
        return []
    notes = []
    for method in spec.methods:
        decaying = [name for name in DECAYING if name in _values(spec, method, "lr_scheduler_type")]
        if decaying and horizon(spec, method) is not None:
            notes.append(
                f"{method}: trials of different lengths are pruned by their losses after the same number of rows, and "
                f"lr_scheduler_type {' or '.join(decaying)} favours the shorter ones there. Set {COMPARABLE} or "
                "constant_with_warmup, or pruner none."
            )
    return notes


def rows_read(training: TrainingSpec, rows: int) -> int:
    """Rows that a trial's steps take: whole passes, and of the last one as many as its steps hold.

    The last step of a pass takes what is left of the rows, however few.
    """
    passes, steps = divmod(training.planned_steps(rows), training.steps_per_epoch(rows))
    return passes * rows + min(steps * training.effective_batch_size, rows)


def _share_of(training: TrainingSpec, longest: Horizon, rows: int | None) -> float:
    """A trial's rows as a share of the longest one's; all of them where that is not known."""
    if rows is not None:
        return rows_read(training, rows) / _rows_of(longest, rows)
    if training.max_steps is None and longest.passes is not None and longest.rows is None:
        return training.num_train_epochs / longest.passes
    if training.max_steps is not None and longest.rows is not None and longest.passes is None:
        return training.max_steps * training.effective_batch_size / longest.rows
    return 1.0


def _step_that_reads(training: TrainingSpec, rows: int, wanted: float) -> int:
    """The first step after which so many rows have been read."""
    passes = math.floor(wanted / rows + TOLERANCE)
    rest = max(0.0, wanted - passes * rows)
    steps = math.ceil(rest / training.effective_batch_size - TOLERANCE)
    return max(1, passes * training.steps_per_epoch(rows) + steps)


def _rows_of(longest: Horizon, rows: int) -> float:
    return max((longest.passes or 0.0) * rows, float(longest.rows or 0))


def _choices(spec: StudySpec, method: str, key: str) -> set[float | None]:
    """What a trial may have for a number of the training section; of a range, its ends."""
    return {value for value in _values(spec, method, key) if value is None or isinstance(value, int | float)}


def _values(spec: StudySpec, method: str, key: str) -> set[ParamValue]:
    own = spec.search_space.get(f"methods.{method}.training.{key}")
    dimension = own or spec.search_space.get(f"training.{key}")
    if dimension is None:
        return {getattr(spec.methods[method].training, key)}
    return set((dimension.min, dimension.max) if dimension.values is None else dimension.values)
