"""Points of trials in a figure: named while they are few, thinned and plain once they are many.

A named point is an element of its own, `point:` and the trial's directory, for whatever shows more about it on
pointing there. Thousands of such elements would make a page slow, and their names are then left out.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.drawing import PAPER, log_ticks
from reports.searched import Axis
from reports.wording import counted, setting, visible
from sweep.record import TrialRecord

FAR = 3.0
"""Values further off than so many spreads of the middle half do not count for a scale."""
MOST_NAMED = 150
"""Points of one series that still get names."""
LONGEST_LABEL, LONGEST_LINE = 14, 10
SMALL, LARGE = 3.2, 5.0


def name_of(record: TrialRecord) -> str:
    """The id of a trial's points: its place in the run directory."""
    config = record.config
    if config.method is None:
        return f"point:{config.phase}"
    number = f"{config.number:04d}" if config.phase == "search" else f"seed-{config.number}"
    return f"point:{config.phase}/{config.method}/{number}"


def plot_points(  # noqa: PLR0913
    axes: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    records: Sequence[TrialRecord],
    shape: str,
    *,
    colour: str,
    filled: bool = True,
    label: str = "",
    in_axis: bool = False,
    panel: int = 0,
) -> None:
    """Points of one look; `in_axis` has heights as shares of the panel.

    Where a trial is in several panels of a figure, `panel` tells its points apart.
    """
    is_named = len(xs) <= MOST_NAMED
    groups = [([x], [y]) for x, y in zip(xs, ys, strict=True)] if is_named else [(list(xs), list(ys))]
    for place, (across, up) in enumerate(groups):
        # The transform has to be there from the start: heights in shares would stretch the panel's scale.
        scale = axes.get_xaxis_transform() if in_axis else axes.transData
        (line,) = axes.plot(across, up, shape, color=colour, label=label if place == 0 else "", transform=scale)
        line.set(linestyle="none", markersize=LARGE if is_named else SMALL)
        line.set_markerfacecolor(colour if filled else PAPER)
        if is_named:
            line.set_gid(name_of(records[place]) + (f"@{panel}" if panel else ""))


def put_scale(axes: Axes, axis: Axis) -> None:
    """The x axis of a setting: logarithmic, listed or plain, with its name."""
    axes.set_xlabel(f"{axis.leaf} (log)" if axis.is_log else axis.leaf)
    if axis.is_numeric and axis.dimension.values is None:
        if axis.is_log:
            log_ticks(axes)
        else:
            axes.margins(x=0.08)
            axes.xaxis.set_major_locator(_few(axis))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: setting(value)))
        return
    if axis.is_log:
        axes.set_xscale("log")
    numbers = sorted({axis.number(value) for value in axis.levels})
    labels = [shorten_label(value) for value in axis.levels]
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.set_xticks(numbers, labels[: len(numbers)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12)


def shorten_label(value: object) -> str:
    """A value short enough for a tick."""
    text = visible(setting(value))
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def wrapped(name: str) -> str:
    """A long name on two lines, broken at the underscore nearest its middle."""
    breaks = [place for place, character in enumerate(name) if character == "_" and place]
    if len(name) <= LONGEST_LINE or not breaks:
        return name
    middle = min(breaks, key=lambda place: abs(place - len(name) / 2))
    return f"{name[: middle + 1]}\n{name[middle + 1 :]}"


def legend_outside(figure: Canvas, panels: Sequence[Axes], columns: int = 5) -> None:
    """One legend for all panels, above them, each label once and in the order of drawing."""
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:
        figure.legend(list(named.values()), list(named), loc="outside upper left", ncols=columns)


def limits(values: Sequence[float]) -> tuple[float, float, int]:
    """Ends of an axis that a few far-off values do not squeeze, and how many lie outside."""
    ordered = sorted(values)
    lower, upper = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    reach = FAR * max(upper - lower, 1e-9)
    inside = [value for value in ordered if lower - reach <= value <= upper + reach]
    return inside[0], inside[-1], len(ordered) - len(inside)


def outside_note(count: int) -> str:
    """What a caption says of values drawn at the edge."""
    return f" {counted(count, 'trial')} off the scale: drawn as triangles at its edge." if count else ""


def thinning_note(drawn: int, available: int, noun: str = "trials") -> str:
    """What a caption says where not all are drawn."""
    if drawn == available:
        return ""
    return f" Of {available:,} {noun}, {drawn:,} are drawn, spaced evenly by their rank, the best among them."


def _few(axis: Axis) -> FixedLocator:
    low, high = axis.ends
    return FixedLocator([low, (low + high) / 2, high])
