"""The objective along single settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from reports.document import Figure
from reports.drawing import QUIET, Drawing, framed, marker, metric_label, new_figure, series_colour
from reports.gather import Gathered
from reports.importance import importance, ordered_axes
from reports.points import limits, outside_note, plot_points, put_scale, thinning_note
from reports.searched import Axis, Search, Tried, searches, thinned
from reports.summary import Summary
from reports.wording import one_line

MOST_SLICES, MOST_METHODS, MOST_POINTS = 3, 8, 250
FEWEST_SLICED = 3


@dataclass(frozen=True, slots=True)
class Sliced:
    """A method whose settings are drawn."""

    series: int
    """Its place among all methods, which decides its look."""
    search: Search
    axes: Sequence[Axis]


def plot_slices(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """The objective along each method's most important settings."""
    del summary
    found = [
        Sliced(series, search, ordered_axes(search, importance(search))[:MOST_SLICES])
        for series, search in enumerate(searches(gathered))
        if search.axes and len(search.tried) >= FEWEST_SLICED
    ][:MOST_METHODS]
    if not found:
        return None
    low, high, outside = limits([one.objective for sliced in found for one in sliced.search.tried])
    # With one setting each, the methods stand side by side; otherwise each method has a row.
    most = max(len(sliced.axes) for sliced in found)
    columns = most if most > 1 else min(MOST_SLICES, len(found))
    rows = len(found) if most > 1 else -(-len(found) // columns)
    figure, panels = new_figure(0.25 + 1.75 * rows, rows=rows, columns=columns)
    free = list(panels)
    for row, sliced in enumerate(found):
        line = panels[row * columns :] if most > 1 else panels[row:]
        for axes, axis in zip(line, sliced.axes, strict=False):
            _plot_slice(axes, sliced, axis, (low, high))
            free.remove(axes)
    for axes in free:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(metric_label(gathered.spec.objective.metric, None))
    return framed("slices", figure, _caption(gathered, found, outside))


def _caption(gathered: Gathered, found: Sequence[Sliced], outside: int) -> str:
    counts = [len(sliced.search.tried) for sliced in found]
    drawn = sum(min(MOST_POINTS, count) for count in counts)
    return (
        f"Objective (to {gathered.spec.objective.direction}) of the complete trials along the settings that mattered "
        f"most, up to {MOST_SLICES} a method. The ringed point is the best trial."
        + thinning_note(drawn, sum(counts))
        + outside_note(outside)
    )


def _plot_slice(axes: Axes, sliced: Sliced, axis: Axis, ends: tuple[float, float]) -> None:
    search = sliced.search
    put_scale(axes, axis)
    axes.margins(y=0.12)
    axes.set_title(one_line(search.name))
    low, high = ends
    colour, shape = series_colour(sliced.series), marker(sliced.series)
    drawn = thinned(search.ordered(), MOST_POINTS)
    inside = [one for one in drawn if low <= one.objective <= high]
    records = [one.record for one in inside]
    heights = [one.objective for one in inside]
    plot_points(axes, [_at(one, axis) for one in inside], heights, records, shape, colour=colour)
    for triangle, beyond, edge in (
        ("^", [one for one in drawn if one.objective > high], 0.96),
        ("v", [one for one in drawn if one.objective < low], 0.04),
    ):
        xs, records = [_at(one, axis) for one in beyond], [one.record for one in beyond]
        plot_points(
            axes,
            xs,
            [edge] * len(xs),
            records,
            triangle,
            colour=QUIET,
            filled=False,
            in_axis=True,
        )
    best = drawn[0]
    axes.plot([_at(best, axis)], [best.objective], "o", color=colour, markerfacecolor="none", markersize=10)


def _at(one: Tried, axis: Axis) -> float:
    return axis.number(one.record.config.params[axis.name])
