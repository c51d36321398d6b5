"""Figures of several settings at once: the pair that mattered most, and whole configs as lines."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import NullLocator
from scipy.stats import rankdata

from reports.document import Figure
from reports.drawing import QUIET, RULE, Drawing, framed, marker, metric_label, new_figure, rank_colour, series_colour
from reports.gather import Gathered
from reports.importance import importance, ordered_axes
from reports.points import legend_outside, limits, plot_points, put_scale, shorten_label, thinning_note, wrapped
from reports.searched import Axis, Search, Tried, searches, thinned
from reports.summary import Summary
from reports.wording import number, one_line, setting

Array = npt.NDArray[np.float64]

FIFTHS = ("worst fifth", "fourth", "middle", "second", "best fifth")
FEWEST_PAIRED, FEWEST_FOR_SURFACE = 5, 40
MOST_POINTS, MOST_LINES, MOST_PANELS = 300, 100, 6
GRID, BANDWIDTH, FEWEST_NEAR = 40, 0.12, 2.0
"""The surface's points each way, its reach as a share of the axes, and the trials that must be within it."""
BEST = 0.2
MOST_LARGE_NAMES = 6
MARGIN = 0.07


def plot_contours(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Trials on the plane of each method's two most important settings, over a smoothed surface where they are many."""
    del summary
    found = [(search, pair) for search in searches(gathered) if (pair := _pair(search)) is not None][:MOST_PANELS]
    if not found:
        return None
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure, panels = new_figure(0.45 + 2.3 * rows, rows=rows, columns=columns, sharey=False)
    for (search, (across, up)), axes in zip(found, panels, strict=False):
        _plot_plane(axes, search, across, up)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    legend_outside(figure, panels)
    total = sum(len(search.tried) for search, _ in found)
    drawn = sum(min(MOST_POINTS, len(search.tried)) for search, _ in found)
    surfaces = any(len(search.tried) >= FEWEST_FOR_SURFACE for search, _ in found)
    caption = (
        "Complete trials on the plane of the two settings that mattered most, by how their objective ranks within the "
        "method: darker on a light page, bluer on a dark one, is better."
        + (" Shades are the same ranks smoothed over neighbours, and left out where too few ran." if surfaces else "")
        + thinning_note(drawn, total)
    )
    return framed("contours", figure, caption)


def plot_parallel(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each config as a line through its settings to its objective, the best fifth standing out."""
    del summary
    found = [
        (place, search)
        for place, search in enumerate(searches(gathered))
        if search.axes and len(search.tried) >= FEWEST_PAIRED
    ][:MOST_PANELS]
    if not found:
        return None
    figure, panels = new_figure(0.4 + 1.75 * len(found), rows=len(found), sharey=False)
    for (place, search), axes in zip(found, panels, strict=True):
        _plot_lines(axes, place, search, gathered.spec.objective.metric)
    legend_outside(figure, panels)
    total = sum(len(search.tried) for _, search in found)
    drawn = sum(min(MOST_LINES, len(search.tried)) for _, search in found)
    caption = (
        "Each complete trial as a line through its settings to its objective, the best at the top. Numbers are the "
        "ends of each scale; logarithmic ranges are spaced by ratio." + thinning_note(drawn, total)
    )
    return framed("parallel", figure, caption)


def _pair(search: Search) -> tuple[Axis, Axis] | None:
    if len(search.tried) < FEWEST_PAIRED:
        return None
    numeric = [axis for axis in ordered_axes(search, importance(search)) if axis.is_numeric]
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def _plot_plane(axes: Axes, search: Search, across: Axis, up: Axis) -> None:
    ranks = (rankdata(search.merits()) - 0.5) / len(search.tried)
    fifths = np.minimum(len(FIFTHS) - 1, (ranks * len(FIFTHS)).astype(int))
    put_scale(axes, across)
    _put_height(axes, up)
    axes.set_title(one_line(search.name))
    if len(search.tried) >= FEWEST_FOR_SURFACE:
        _plot_surface(axes, search, across, up, ranks)
    kept = {one.record.config.number for one in thinned(search.ordered(), MOST_POINTS)}
    for fifth, label in reversed(list(enumerate(FIFTHS))):
        members = [
            one
            for one, its in zip(search.tried, fifths, strict=True)
            if its == fifth and one.record.config.number in kept
        ]
        plot_points(
            axes,
            [_value(one, across) for one in members],
            [_value(one, up) for one in members],
            [one.record for one in members],
            marker(fifth),
            colour=rank_colour(fifth, len(FIFTHS)),
            label=label,
        )
    # A filled surface ends at its edge, and would cut points there in half.
    axes.set_xlim(_at(across, -MARGIN), _at(across, 1 + MARGIN))
    axes.set_ylim(_at(up, -MARGIN), _at(up, 1 + MARGIN))


def _put_height(axes: Axes, axis: Axis) -> None:
    axes.set_ylabel(one_line(axis.leaf) + (" (log)" if axis.is_log else ""))
    if axis.is_log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    low, high = axis.ends
    middle = (low * high) ** 0.5 if axis.is_log else (low + high) / 2
    ticks = [axis.number(value) for value in axis.levels] or [low, middle, high]
    axes.set_yticks(ticks, [number(tick, 2) for tick in ticks])


def _plot_surface(axes: Axes, search: Search, across: Axis, up: Axis, ranks: Array) -> None:
    steps = np.linspace(0.0, 1.0, GRID)
    found = _smoothed(np.array(search.places(across)), np.array(search.places(up)), ranks, steps)
    xs = [_at(across, step) for step in steps]
    ys = [_at(up, step) for step in steps]
    levels = [place / len(FIFTHS) for place in range(len(FIFTHS) + 1)]
    colours = [rank_colour(place, len(FIFTHS)) for place in range(len(FIFTHS))]
    axes.contourf(xs, ys, np.ma.masked_invalid(found), levels=levels, colors=colours, alpha=0.22)


def _smoothed(xs: Array, ys: Array, values: Array, steps: Array) -> Array:
    """Mean of the neighbours' values, weighted by nearness; no number where too few are near."""
    near_x = np.exp(-0.5 * ((steps[:, None] - xs[None, :]) / BANDWIDTH) ** 2)
    near_y = np.exp(-0.5 * ((steps[:, None] - ys[None, :]) / BANDWIDTH) ** 2)
    weight = near_y @ near_x.T
    total = (near_y * values[None, :]) @ near_x.T
    return np.where(weight >= FEWEST_NEAR, total / np.maximum(weight, 1e-12), np.nan)


def _at(axis: Axis, place: float) -> float:
    low, high = axis.ends
    return float(low * (high / low) ** place if axis.is_log else low + place * (high - low))


def _value(one: Tried, axis: Axis) -> float:
    return axis.number(one.record.config.params[axis.name])


def _plot_lines(axes: Axes, place: int, search: Search, metric: str) -> None:
    low, high, _ = limits([one.objective for one in search.tried])
    ordered = search.ordered()
    best = {one.record.config.number for one in ordered[: max(1, round(BEST * len(ordered)))]}
    drawn = thinned(ordered, MOST_LINES)
    lines = [(one, _heights(one, search, low, high)) for one in drawn]
    others = [heights for one, heights in lines if one.record.config.number not in best]
    chosen = [heights for one, heights in lines if one.record.config.number in best]
    xs = range(len(search.axes) + 1)
    axes.add_collection(
        LineCollection([list(zip(xs, line, strict=True)) for line in others], colors=QUIET, linewidths=0.5, alpha=0.5)
    )
    for line in chosen:
        axes.plot(xs, line, color=series_colour(place), marker=marker(place), markersize=3, linewidth=1.1)
    axes.plot([], [], color=series_colour(place), marker=marker(place), label=f"{one_line(search.name)}: best fifth")
    axes.plot([], [], color=QUIET, linewidth=0.5, label="other trials" if place == 0 else "")
    best_end, worst_end = (high, low) if search.maximizes else (low, high)
    ends = [*(_end_labels(axis) for axis in search.axes), (number(worst_end), number(best_end))]
    for x, (bottom, top) in zip(xs, ends, strict=True):
        axes.axvline(x, color=RULE, linewidth=1.0, zorder=0)
        axes.text(x, -0.05, bottom, ha="center", va="top", fontsize=7)
        axes.text(x, 1.05, top, ha="center", va="bottom", fontsize=7)
    axes.set_xlim(-0.35, len(search.axes) + 0.35)
    axes.set_ylim(-0.22, 1.22)
    names = [wrapped(one_line(axis.leaf)) for axis in search.axes]
    names.append(metric_label(metric, None).replace(" (", "\n(", 1))
    axes.set_xticks(list(xs), names, fontsize=7 if len(names) <= MOST_LARGE_NAMES else 6)
    axes.set_yticks([])
    axes.set_title(one_line(search.name))
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _heights(one: Tried, search: Search, low: float, high: float) -> list[float]:
    places = [min(1.0, max(0.0, axis.place(one.record.config.params[axis.name]))) for axis in search.axes]
    at = 0.5 if low == high else min(1.0, max(0.0, (one.objective - low) / (high - low)))
    return [*places, at if search.maximizes else 1 - at]


def _end_labels(axis: Axis) -> tuple[str, str]:
    if axis.is_numeric:
        low, high = axis.ends
        return setting(low), setting(high)
    return shorten_label(axis.levels[0]), shorten_label(axis.levels[-1])
