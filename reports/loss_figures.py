"""Figures of learning: training and validation loss of the finalists, and of every trial."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from reports.curves import Curves, Point, finalists, read_curves, shortened
from reports.document import Figure
from reports.drawing import (
    DASHED,
    QUIET,
    Dashes,
    Drawing,
    framed,
    marker,
    new_figure,
    series_colour,
)
from reports.gather import Gathered, MethodRecords
from reports.points import legend_outside, limits, name_points, thinning_note
from reports.searched import search_of, thinned
from reports.summary import Summary
from reports.wording import one_line, score
from sweep.record import TrialRecord

MOST_STEPS, MOST_CURVES, MOST_PANELS, PANELS_IN_A_ROW = 200, 60, 9, 3
SMOOTHED_STEPS = 20
LOSS = "loss (nats per token)"


def plot_losses(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Training and validation loss of each method's best trial and of its repetitions, by step."""
    del summary
    chosen = [
        (place, method, finalists(gathered, method))
        for place, method in enumerate(gathered.methods)
        if method.best is not None
    ]
    found = [one for one in chosen if one[2][0].train or one[2][0].validation][:MOST_PANELS]
    if not found:
        return None
    panels, canvas = _panels(len(found))
    for (place, method, curves), axes in zip(found, panels, strict=False):
        _plot_finalist(axes, place, method, curves)
    legend_outside(canvas, panels[: len(found)], columns=4)
    caption = (
        "Losses of each method's best trial by optimizer step: training batches (thin), the same averaged over "
        "stretches (dashed), and the validation split (points; the ring is its lowest). Faint lines are the "
        "validation losses of the finalist's repetitions."
    )
    return framed("losses", canvas, caption)


def plot_all_losses(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Validation loss of every trial of the search, by step."""
    del summary
    found = [(place, method, _curves_of(gathered, method)) for place, method in enumerate(gathered.methods)]
    found = [(place, method, curves) for place, method, curves in found if curves][:MOST_PANELS]
    if not found:
        return None
    panels, canvas = _panels(len(found))
    losses = [point.loss for _, _, curves in found for one in curves for point in one.validation]
    low, high, _ = limits(losses)
    for (place, method, curves), axes in zip(found, panels, strict=False):
        _plot_trials(axes, place, method, curves)
        margin = 0.05 * (high - low)
        axes.set_ylim(low - margin, high + margin)
    legend_outside(canvas, panels[: len(found)], columns=4)
    available = sum(len(_own(method)) for _, method, _ in found)
    drawn = sum(min(MOST_CURVES, len(_own(method))) for _, method, _ in found)
    caption = (
        "Validation loss of the trials of the search by optimizer step. Thick: the best trial. Dashed: pruned or "
        "failed on the way. Losses far above all others leave the panel." + thinning_note(drawn, available)
    )
    return framed("all_losses", canvas, caption)


def _panels(count: int) -> tuple[list[Axes], Canvas]:
    columns = min(count, PANELS_IN_A_ROW)
    rows = -(-count // columns)
    canvas, panels = new_figure(0.5 + 1.95 * rows, rows=rows, columns=columns)
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes in panels[:count]:
        axes.set_xlabel("optimizer step")
    for axes in panels[::columns]:
        axes.set_ylabel(LOSS)
    return panels, canvas


def _plot_finalist(axes: Axes, place: int, method: MethodRecords, curves: Sequence[Curves]) -> None:
    chosen, *repeated = curves
    colour = series_colour(place)
    axes.set_title(one_line(method.name))
    _plot_line(axes, shortened(chosen.train, MOST_STEPS), colour=colour, linewidth=0.5, alpha=0.45)
    smooth = shortened(chosen.train, SMOOTHED_STEPS)
    _plot_line(axes, smooth, colour=QUIET, linewidth=1.1, label="training, averaged", linestyle=DASHED)
    for one in repeated:
        _plot_line(axes, one.validation, colour=colour, linewidth=0.8, alpha=0.4)
    label = f"validation: {one_line(method.name)}"
    line = _plot_line(axes, chosen.validation, colour=colour, linewidth=1.4, label=label)
    line.set_marker(marker(place))
    line.set_markersize(4)
    name_points(
        line, [f"{method.name}, step {one.step:g}\nvalidation loss {score(one.loss)}" for one in chosen.validation]
    )
    if chosen.best is not None:
        axes.plot([chosen.best.step], [chosen.best.loss], "o", color=colour, markerfacecolor="none", markersize=9)


def _plot_line(  # noqa: PLR0913
    axes: Axes,
    points: Sequence[Point],
    *,
    colour: str,
    linewidth: float,
    alpha: float = 1.0,
    label: str = "",
    linestyle: str | Dashes = "-",
) -> Line2D:
    xs, ys = [point.step for point in points], [point.loss for point in points]
    (line,) = axes.plot(xs, ys, color=colour, linewidth=linewidth, alpha=alpha, label=label, linestyle=linestyle)
    return line


def _own(method: MethodRecords) -> list[TrialRecord]:
    return [record for record in method.search if record.reused_from is None and record.config.method_spec is not None]


def _curves_of(gathered: Gathered, method: MethodRecords) -> list[Curves]:
    """The trials' validation losses, thinned before they are read: the best first, then those that did not end."""
    ordered = [one.record for one in search_of(method, gathered.spec).ordered()]
    known = {record.config.number for record in ordered}
    others = [record for record in _own(method) if record.config.number not in known]
    found = [read_curves(gathered, record) for record in thinned([*ordered, *others], MOST_CURVES)]
    return [curves for curves in found if curves.validation]


def _plot_trials(axes: Axes, place: int, method: MethodRecords, curves: Sequence[Curves]) -> None:
    axes.set_title(one_line(method.name))
    colour = series_colour(place)
    best = None if method.best is None else method.best.config.number
    for state, linestyle in ((True, "-"), (False, DASHED)):
        members = [one for one in curves if (one.record.state == "COMPLETE") is state]
        lines = [[(point.step, point.loss) for point in one.validation] for one in members]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7, alpha=0.45, linestyles=[linestyle]))
    for one in curves:
        if one.record.config.number == best:
            label = f"best: {one_line(method.name)}"
            _plot_line(axes, one.validation, colour=colour, linewidth=1.8, label=label).set_marker(marker(place))
    axes.autoscale_view()
