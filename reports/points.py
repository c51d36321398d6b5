"""Points of trials in a figure: named while they are few, thinned and plain once they are many.

Thousands of names would make a page large and slow, and nobody can point at one of so many.
"""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.drawing import PAPER, label_points, log_ticks
from reports.searched import Axis
from reports.wording import counted, one_line, scientific, score, setting
from sweep.record import TrialRecord

FAR = 3.0
"""Values further off than so many spreads of the middle half do not count for a scale."""
MOST_NAMED = 150
"""Points of one series that still get names."""
LONGEST_LABEL, LONGEST_LINE = 14, 10
SMALL, LARGE = 3.2, 5.0


def described(record: TrialRecord) -> str:
    """A trial for whoever points at it."""
    config = record.config
    spec = config.method_spec
    kind = "trial" if config.phase == "search" else "seed"
    rate = "" if spec is None else f"\nlearning rate {scientific(spec.training.learning_rate, 3)}"
    rank = "" if spec is None or spec.peft is None else f", rank {spec.peft.lora_r}"
    value = "no objective" if record.objective is None else f"objective {score(record.objective)}"
    name = f"base model on {config.split}" if config.method is None else f"{config.method} {kind} {config.number}"
    return f"{name}, {record.state}{rate}{rank}\n{value}"


def name_points(artist: Artist, texts: Sequence[str]) -> None:
    """Say what an artist's points stand for, where they are few enough to point at."""
    if len(texts) <= MOST_NAMED:
        label_points(artist, texts)


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
) -> None:
    """Points of one look; `in_axis` has heights as shares of the panel."""
    if not xs:
        return
    # The transform has to be there from the start: heights in shares would stretch the panel's scale.
    scale = axes.get_xaxis_transform() if in_axis else axes.transData
    (points,) = axes.plot(xs, ys, shape, color=colour, label=label, transform=scale)
    points.set(linestyle="none", markersize=LARGE if len(xs) <= MOST_NAMED else SMALL)
    points.set_markerfacecolor(colour if filled else PAPER)
    name_points(points, [described(record) for record in records])


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
    text = one_line(setting(value))
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
