"""The figure that compares methods at equal budget."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.document import Figure
from reports.drawing import Drawing, framed, marker, metric_label, new_figure, series_colour
from reports.equal_budget import SearchCurves, search_curves
from reports.gather import Gathered
from reports.statistics.best_of import Curve
from reports.summary import Summary
from reports.wording import one_line

SECONDS_IN_AN_HOUR = 3600
LONG_SECONDS = 2 * SECONDS_IN_AN_HOUR
FEW = 20
"""Points of a curve that still get a marker each."""


def plot_best_of(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each method's expected best objective by number of trials and by training time, with bands."""
    del summary
    found = search_curves(gathered)
    if not any(len(curves.by_trials.budgets) > 1 for curves in found):
        return None
    by_time = [curves.by_seconds for curves in found]
    timed = all(curve is not None for curve in by_time)
    figure, panels = new_figure(2.7, columns=2 if timed else 1)
    order = [method.name for method in gathered.methods]
    for curves in found:
        _plot_curve(panels[0], curves.by_trials, order.index(curves.method), curves.method)
    panels[0].set_xlabel("trials")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel(f"best {metric_label(gathered.spec.objective.metric, None)}")
    if timed:
        _plot_times(panels[1], found, order)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4)
    caption = (
        f"Expected best {gathered.spec.objective.metric} on the validation split after so many trials"
        f"{' and after so much training time' if timed else ''}, were the trials that ran drawn in random order. Bands "
        "by trials: 95 % over bootstrapped searches"
        f"{'; by time: where 95 % of the orders lie' if timed else ''}. Failed and pruned trials spend budget and "
        "count as the method's worst complete one."
    )
    return framed("best_of", figure, caption)


def _plot_times(axes: Axes, found: Sequence[SearchCurves], order: Sequence[str]) -> None:
    longest = max(curves.by_seconds.budgets[-1] for curves in found if curves.by_seconds is not None)
    unit, seconds = ("hours", SECONDS_IN_AN_HOUR) if longest > LONG_SECONDS else ("minutes", 60)
    for curves in found:
        if curves.by_seconds is not None:
            _plot_curve(axes, curves.by_seconds, order.index(curves.method), curves.method, scale=seconds)
    axes.set_xlabel(f"training time ({unit})")


def _plot_curve(axes: Axes, curve: Curve, place: int, name: str, *, scale: float = 1.0) -> None:
    budgets = [budget / scale for budget in curve.budgets]
    colour = series_colour(place)
    axes.fill_between(budgets, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
    every = max(1, len(budgets) // FEW)
    axes.plot(
        budgets, curve.values, color=colour, marker=marker(place), markevery=every, markersize=3.5, label=one_line(name)
    )
