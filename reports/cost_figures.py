"""Quality against what it costs, with the methods that no other betters at less cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.costs import HOUR_SECONDS, Cost, costs
from reports.document import Figure
from reports.drawing import (
    DASHED,
    PAPER,
    QUIET,
    Drawing,
    framed,
    label_points,
    marker,
    metric_label,
    new_figure,
    series_colour,
)
from reports.gather import Gathered
from reports.points import legend_outside
from reports.recommendation import GIGA, front, merit
from reports.statistics import Estimate
from reports.summary import Summary
from reports.wording import estimated, number, one_line

MINUTE_SECONDS, LONG_MINUTES, PANELS_IN_A_ROW = 60, 120, 3


@dataclass(frozen=True, slots=True)
class Panel:
    """A cost on the x axis."""

    label: str
    values: dict[str, float]
    """By method."""


def plot_quality_and_cost(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each method's score against its memory, its training time and the cost of its whole search."""
    metric = summary.metric
    if metric is None or not summary.ranked:
        return None
    scores = {method.name: method.scores[metric] for method in summary.ranked}
    panels = [panel for panel in _panels(gathered, summary) if set(panel.values) & set(scores)]
    if not panels:
        return None
    columns = len(panels) if len(panels) <= PANELS_IN_A_ROW else 2
    rows = -(-len(panels) // columns)
    figure, drawn = new_figure(0.5 + 2.25 * rows, rows=rows, columns=columns)
    for panel, axes in zip(panels, drawn, strict=False):
        _plot_panel(axes, panel, scores, [method.name for method in summary.methods])
        base = summary.baseline.get(metric)
        if base is not None:
            axes.axhline(base.value, color=QUIET, linestyle=DASHED, linewidth=1.1, label="base model")
    for axes in drawn[len(panels) :]:
        axes.set_axis_off()
    for axes in drawn[::columns]:
        axes.set_ylabel(metric_label(metric, summary.split).replace(" (", "\n(", 1))
    legend_outside(figure, drawn, columns=4)
    caption = (
        f"{metric} with 95 % intervals against what a method costs. The stepped line is the Pareto front; hollow "
        "points are dominated: another method scores no worse at no more cost. Fronts go by the scores as they are, "
        "whatever the intervals."
    )
    return framed("quality_and_cost", figure, caption)


def _panels(gathered: Gathered, summary: Summary) -> list[Panel]:
    found = costs(gathered, summary)
    report = gathered.spec.report
    memory = "GPU" if summary.on_device else "host"
    panels = [
        Panel(f"peak memory ({memory}, GB)", _known(found, [_scaled(one.peak_memory_bytes, GIGA) for one in found])),
        _time_panel("training time of one run", found, [one.train_seconds for one in found]),
    ]
    if report.price_per_hour is None:
        seconds = [one.search_seconds or None for one in found]
        panels.append(_time_panel("device time of the search", found, seconds))
    else:
        prices = [one.search_price or None for one in found]
        runs = [one.price for one in found]
        panels.append(Panel(f"training cost of one run ({report.currency})", _known(found, runs)))
        panels.append(Panel(f"cost of the search ({report.currency})", _known(found, prices)))
    return [panel for panel in panels if panel.values]


def _time_panel(title: str, found: Sequence[Cost], seconds: Sequence[float | None]) -> Panel:
    longest = max((one for one in seconds if one is not None), default=0.0)
    unit, scale = ("min", MINUTE_SECONDS) if longest < LONG_MINUTES * MINUTE_SECONDS else ("h", HOUR_SECONDS)
    return Panel(f"{title} ({unit})", _known(found, [_scaled(one, scale) for one in seconds]))


def _known(found: Sequence[Cost], values: Sequence[float | None]) -> dict[str, float]:
    return {cost.name: value for cost, value in zip(found, values, strict=True) if value is not None}


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value / scale


def _plot_panel(axes: Axes, panel: Panel, scores: dict[str, Estimate], order: Sequence[str]) -> None:
    named = [name for name in order if name in panel.values and name in scores]
    on, _ = front({name: (merit(scores[name]), panel.values[name]) for name in named})
    axes.step(
        [panel.values[name] for name in on],
        [scores[name].value for name in on],
        where="post",
        color=QUIET,
        linewidth=0.9,
        label="Pareto front" if len(on) > 1 else "",
    )
    for name in named:
        found, place = scores[name], order.index(name)
        interval = found.interval
        errors = None if interval is None else [[found.value - interval.low], [interval.high - found.value]]
        points, _, _ = axes.errorbar(
            [panel.values[name]],
            [found.value],
            yerr=errors,
            color=series_colour(place),
            marker=marker(place),
            markersize=6,
            markerfacecolor=series_colour(place) if name in on else PAPER,
            capsize=2,
            elinewidth=0.9,
            linestyle="none",
            label=one_line(name),
        )
        told = f"{name}: {estimated(found)}\n{panel.label} {number(panel.values[name])}"
        label_points(points, [told])
    axes.set_xlim(0, 1.12 * max(panel.values[name] for name in named) or 1.0)
    axes.set_xlabel(panel.label.replace(" (", "\n(", 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
