"""Figures of the search: what was tried, how it went on, and how the best trials learned."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from reports import drawing
from reports.document import Figure
from reports.drawing import (
    DASHED,
    INK,
    PAPER,
    QUIET,
    Drawing,
    framed,
    label_points,
    legend_above,
    marker,
    metric_label,
    new_figure,
    series_colour,
)
from reports.gather import Gathered, MethodRecords
from reports.summary import Summary
from reports.wording import scientific, score, visible
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.tracking.payload import read_steps

PANELS_IN_A_ROW = 3
LEGEND_COLUMNS = 5


def plot_rate_and_rank(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each trial's objective against its learning rate, coloured by rank, one panel a method."""
    del summary
    methods = [method for method in gathered.methods if _tried(method)]
    if not methods:
        return None
    columns = min(len(methods), PANELS_IN_A_ROW)
    rows = -(-len(methods) // PANELS_IN_A_ROW)
    figure, panels = new_figure(0.5 + 2.1 * rows, rows=rows, columns=columns)
    ranks = sorted({rank for method in methods for record in _tried(method) if (rank := _rank(record)) is not None})
    # The panels share their y axis, so the base model fits into all of them or into none.
    shown = [value for method in methods for record in _tried(method) if (value := _objective(record)) is not None]
    for method, axes in zip(methods, panels, strict=False):
        _plot_rates(axes, method, ranks)
        _plot_baseline(axes, gathered, shown)
    for axes in panels[len(methods) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(_objective_label(gathered.spec))
    _legend_of_panels(figure, panels)
    caption = (
        f"Objective (to {gathered.spec.objective.direction}) of every trial of the search against its peak learning "
        "rate. Hollow points were pruned; trials that ended without an objective stand as crosses on the axis."
    )
    return framed("rate_and_rank", figure, caption + _baseline_note(gathered, shown))


def plot_history(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each method's best objective so far, by trial."""
    del summary
    methods = [(place, method) for place, method in enumerate(gathered.methods) if _objectives(method)]
    if not methods:
        return None
    figure, [axes] = new_figure(2.5)
    for place, method in methods:
        _plot_best_so_far(axes, place, method, gathered.spec)
    shown = [value for _, method in methods for _, value in _objectives(method)]
    _plot_baseline(axes, gathered, shown)
    axes.set_xlim(-0.5, max(number for _, method in methods for number, _ in _objectives(method)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial number")
    axes.set_ylabel(_objective_label(gathered.spec))
    legend_above(axes)
    caption = "Objective of each complete trial (points) and the best so far (lines), by method."
    return framed("history", figure, caption + _baseline_note(gathered, shown))


def plot_losses(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Training and validation loss of each method's best trial, by step."""
    del summary
    figure, [axes] = new_figure(2.5)
    drawn = [
        _plot_loss(axes, place, method, gathered)
        for place, method in enumerate(gathered.methods)
        if method.best is not None
    ]
    if not any(drawn):
        return None
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    legend_above(axes)
    caption = (
        "Loss of each method's best trial: thin lines on training batches, lines with points on the validation split."
    )
    return framed("losses", figure, caption)


def _plot_rates(axes: Axes, method: MethodRecords, ranks: Sequence[int]) -> None:
    drawing.log_ticks(axes)
    axes.set_title(visible(method.name))
    axes.set_xlabel("learning rate (log)")
    for record in _tried(method):
        rate = record.config.method_spec.training.learning_rate if record.config.method_spec else 1.0
        rank = _rank(record)
        colour = INK if rank is None else drawing.rank_colour(ranks.index(rank), len(ranks))
        shape = "o" if rank is None else marker(ranks.index(rank))
        objective = _objective(record)
        if objective is None:
            [point] = axes.plot(
                [rate], [0.02], "x", color=QUIET, transform=axes.get_xaxis_transform(), label="no objective"
            )
        else:
            face = colour if record.state == "COMPLETE" else PAPER
            label = "no adapter" if rank is None else f"rank {rank}"
            [point] = axes.plot([rate], [objective], shape, color=colour, markerfacecolor=face, label=label)
        label_points(point, [_described(record)])


def _legend_of_panels(figure: Canvas, panels: Sequence[Axes]) -> None:
    """One legend for all panels: the ranks in order, then the rest."""
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = sorted(named, key=lambda label: (not label.startswith("rank"), _trailing_number(label), label))
    if order:
        figure.legend([named[label] for label in order], order, loc="outside upper left", ncols=LEGEND_COLUMNS)


def _plot_best_so_far(axes: Axes, place: int, method: MethodRecords, spec: StudySpec) -> None:
    better: Callable[[Sequence[float]], float] = max if spec.objective.direction == "maximize" else min
    numbers, values = zip(*_objectives(method), strict=True)
    best = [better(values[: end + 1]) for end in range(len(values))]
    colour = series_colour(place)
    axes.step(numbers, best, where="post", color=colour)
    [points] = axes.plot(numbers, values, marker(place), color=colour, markersize=4, alpha=0.55)
    label_points(points, [_described(record) for record in _complete(method)])
    axes.plot([], [], color=colour, marker=marker(place), label=visible(method.name))


def _plot_loss(axes: Axes, place: int, method: MethodRecords, gathered: Gathered) -> bool:
    if method.best is None:
        return False
    steps = list(read_steps(gathered.directory(method.best).steps))
    colour = series_colour(place)
    train = [(step["step"], step["loss"]) for step in steps if {"step", "loss"} <= step.keys()]
    held_out = [(step["step"], step["validation_loss"]) for step in steps if {"step", "validation_loss"} <= step.keys()]
    axes.plot([x for x, _ in train], [y for _, y in train], color=colour, linewidth=0.7, alpha=0.6)
    [points] = axes.plot(
        [x for x, _ in held_out],
        [y for _, y in held_out],
        color=colour,
        marker=marker(place),
        label=visible(method.name),
    )
    shown = [(x, y) for x, y in held_out if math.isfinite(y)]
    label_points(points, [f"{method.name}, step {x:g}\nvalidation loss {score(y)} nats per token" for x, y in shown])
    return bool(train or held_out)


def _plot_baseline(axes: Axes, gathered: Gathered, shown: Sequence[float]) -> None:
    """A line for the base model, where it does not lie so far off that the trials would be squeezed together."""
    value = None if gathered.baseline is None else gathered.baseline.objective
    if value is not None and math.isfinite(value) and _is_near(value, shown):
        axes.axhline(value, label="base model", color=QUIET, linestyle=DASHED, linewidth=1.1)


def _baseline_note(gathered: Gathered, shown: Sequence[float]) -> str:
    value = None if gathered.baseline is None else gathered.baseline.objective
    if value is None or not shown or _is_near(value, shown):
        return ""
    return f" The base model has {score(value)}, off the scale."


def _is_near(value: float, shown: Sequence[float]) -> bool:
    if not shown:
        return False
    span = max(shown) - min(shown)
    return min(shown) - span <= value <= max(shown) + span


def _tried(method: MethodRecords) -> list[TrialRecord]:
    return [record for record in method.search if record.reused_from is None and record.config.method_spec is not None]


def _complete(method: MethodRecords) -> list[TrialRecord]:
    return [record for record in _tried(method) if record.state == "COMPLETE" and _objective(record) is not None]


def _objectives(method: MethodRecords) -> list[tuple[int, float]]:
    """Number and objective of each complete trial."""
    values = [(record.config.number, _objective(record)) for record in _complete(method)]
    return [(number, value) for number, value in values if value is not None]


def _described(record: TrialRecord) -> str:
    """A trial for whoever points at it."""
    rank, spec = _rank(record), record.config.method_spec
    rate = "" if spec is None else f"\nlearning rate {scientific(spec.training.learning_rate, 3)}"
    value = "no objective" if record.objective is None else f"objective {score(record.objective)}"
    adapter = "" if rank is None else f", rank {rank}"
    return f"{record.config.method} trial {record.config.number}, {record.state}{rate}{adapter}\n{value}"


def _objective(record: TrialRecord) -> float | None:
    """The objective, where it is a number that can be drawn."""
    return record.objective if record.objective is not None and math.isfinite(record.objective) else None


def _rank(record: TrialRecord) -> int | None:
    spec = record.config.method_spec
    return None if spec is None or spec.peft is None else spec.peft.lora_r


def _trailing_number(label: str) -> int:
    last = label.rsplit(maxsplit=1)[-1]
    return int(last) if last.isdigit() else 0


def _objective_label(spec: StudySpec) -> str:
    return metric_label(spec.objective.metric, None)
