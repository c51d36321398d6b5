"""Figures of what came out: the methods' scores, and what became of them on rows that the search never saw."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from evals.result import Metric
from reports.document import Figure
from reports.drawing import (
    DASHED,
    DOTTED,
    QUIET,
    Dashes,
    Drawing,
    framed,
    label_points,
    legend_above,
    marker,
    metric_label,
    new_figure,
    series_colour,
    spread,
)
from reports.gather import Gathered
from reports.statistics import Estimate, estimate
from reports.summary import Summary
from reports.wording import estimated, interval, one_line, score


def plot_scores(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each method's score with its interval, beside the base model and the best constant answer."""
    del gathered
    metric = summary.metric
    if metric is None or not any(metric in method.scores for method in summary.methods):
        return None
    figure, [axes] = new_figure(1.0 + 0.3 * len(summary.methods))
    for place, method in enumerate(summary.methods):
        found = method.scores.get(metric)
        if found is not None:
            seeds = [record.evaluation.metrics[metric].value for record in method.scored if record.evaluation]
            _plot_estimate(axes, place, found, seeds, method.name)
    _plot_reference(axes, summary.baseline.get(metric), DASHED, "base model")
    _plot_reference(axes, summary.constant.get(metric), DOTTED, "best constant answer")
    axes.set_yticks(range(len(summary.methods)), [one_line(method.name) for method in summary.methods])
    axes.set_ylim(len(summary.methods) - 0.5, -0.5)
    axes.set_xlabel(metric_label(metric, summary.split))
    axes.grid(visible=False, axis="y")
    legend_above(axes)
    caption = (
        f"{metric} on the {summary.split} split. Bars are 95 % intervals over items and seeds; small points are seeds."
    )
    return framed("scores", figure, caption)


def plot_search_and_test(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """The finalist's score where it was chosen against its score on rows that the search never saw."""
    metrics = [name for name in (summary.metric, gathered.spec.objective.metric) if name is not None]
    metric = next((name for name in metrics if _chosen_and_tested(gathered, summary, name)), None)
    if metric is None:
        return None
    figure, [axes] = new_figure(2.5)
    found = _chosen_and_tested(gathered, summary, metric)
    for (place, chosen, tested), offset in zip(found, spread(len(found)), strict=True):
        values = [estimate([chosen]), tested]
        name = summary.methods[place].name
        sides = [f"{name}, validation", f"{name}, test"]
        drawn = axes.errorbar(
            [offset, 1 + offset],
            [value.value for value in values],
            yerr=[[_below(value) for value in values], [_above(value) for value in values]],
            color=series_colour(place),
            marker=marker(place),
            capsize=2,
            elinewidth=0.9,
            label=one_line(name),
        )
        label_points(drawn.lines[0], [_described(side, value) for side, value in zip(sides, values, strict=True)])
    axes.set_xticks([0, 1], ["validation (chosen on it)", "test (opened once)"])
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylabel(metric_label(metric, None))
    axes.grid(visible=False, axis="x")
    legend_above(axes)
    caption = (
        f"{metric} of each method's best trial where it was chosen, and of its repetitions on the test split, with "
        "95 % intervals. A choice among many trials looks better than it is: expect a drop."
    )
    return framed("search_and_test", figure, caption)


def _plot_estimate(axes: Axes, place: int, found: Estimate, seeds: Sequence[float], name: str) -> None:
    colour = series_colour(place)
    errors = [[_below(found)], [_above(found)]]
    drawn = axes.errorbar(
        [found.value], [place], xerr=errors, color=colour, marker=marker(place), capsize=3, markersize=6
    )
    label_points(drawn.lines[0], [_described(name, found)])
    if len(seeds) > 1:
        heights = [place + 0.28] * len(seeds)
        [points] = axes.plot(seeds, heights, ".", color=colour, markersize=3.5, alpha=0.7)
        label_points(points, [f"{name}, seed {number}\n{score(value)}" for number, value in enumerate(seeds, start=1)])


def _described(name: str, found: Estimate) -> str:
    between = "" if found.interval is None else f"\n95 % interval {interval(found.interval)}"
    return f"{name}\n{estimated(found)} ({found.items:,} items){between}"


def _plot_reference(axes: Axes, found: Estimate | None, dashes: Dashes, label: str) -> None:
    if found is not None:
        line = axes.axvline(found.value, label=label, color=QUIET, linestyle=dashes, linewidth=1.1)
        label_points(line, [_described(label, found)])


def _chosen_and_tested(gathered: Gathered, summary: Summary, metric: str) -> list[tuple[int, Metric, Estimate]]:
    if summary.split != "test":
        return []
    found = []
    for place, (method, scored) in enumerate(zip(gathered.methods, summary.methods, strict=True)):
        evaluation = None if method.best is None else method.best.evaluation
        if evaluation is not None and metric in evaluation.metrics and metric in scored.scores:
            found.append((place, evaluation.metrics[metric], scored.scores[metric]))
    return found


def _below(found: Estimate) -> float:
    return 0.0 if found.interval is None else max(0.0, found.value - found.interval.low)


def _above(found: Estimate) -> float:
    return 0.0 if found.interval is None else max(0.0, found.interval.high - found.value)
