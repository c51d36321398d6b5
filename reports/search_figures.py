"""Figures of the search: what was tried, and how it went on."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from reports import drawing
from reports.document import Figure
from reports.drawing import (
    DASHED,
    INK,
    QUIET,
    Drawing,
    framed,
    legend_above,
    marker,
    metric_label,
    new_figure,
    series_colour,
)
from reports.gather import Gathered, MethodRecords
from reports.points import described, limits, name_points, plot_points, thinning_note
from reports.searched import thinned
from reports.summary import Summary
from reports.wording import counted, one_line, score
from sweep.record import TrialRecord
from sweep.spec import StudySpec

Band = tuple[int, int]
"""Lowest and highest rank."""
PANELS_IN_A_ROW, MOST_POINTS, MOST_BANDS = 3, 300, 5
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
    bands = _bands([rank for method in methods for record in _tried(method) if (rank := _rank(record)) is not None])
    # The panels share their y axis, so the base model fits into all of them or into none.
    shown = [value for method in methods for record in _tried(method) if (value := _objective(record)) is not None]
    for method, axes in zip(methods, panels, strict=False):
        _plot_rates(axes, method, bands, gathered.spec)
        _plot_baseline(axes, gathered, shown)
    outside = _cut(panels[0], shown)
    for axes in panels[len(methods) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(_objective_label(gathered.spec))
    _legend_of_panels(figure, panels)
    caption = (
        f"Objective (to {gathered.spec.objective.direction}) of every trial of the search against its peak learning "
        "rate. Hollow points were pruned; trials that ended without an objective stand as crosses on the axis."
    )
    drawn = sum(min(MOST_POINTS, len(_tried(method))) for method in methods)
    caption += thinning_note(drawn, sum(len(_tried(method)) for method in methods))
    return framed("rate_and_rank", figure, caption + _cut_note(outside) + _baseline_note(gathered, shown))


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
    outside = _cut(axes, shown)
    axes.set_xlim(-0.5, max(number for _, method in methods for number, _ in _objectives(method)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial number")
    axes.set_ylabel(_objective_label(gathered.spec))
    legend_above(axes)
    caption = "Objective of each complete trial (points) and the best so far (lines), by method."
    if any(len(_objectives(method)) > MOST_POINTS for _, method in methods):
        caption += f" Of each method, {MOST_POINTS} points are drawn, spaced evenly; the lines are of all trials."
    return framed("history", figure, caption + _cut_note(outside) + _baseline_note(gathered, shown))


def _plot_rates(axes: Axes, method: MethodRecords, bands: Sequence[Band], spec: StudySpec) -> None:
    drawing.log_ticks(axes)
    axes.set_title(one_line(method.name))
    axes.set_xlabel("learning rate (log)")
    groups: dict[tuple[int, str], list[TrialRecord]] = {}
    for record in thinned(_by_objective(method, spec), MOST_POINTS):
        kind: str = "none" if _objective(record) is None else record.state
        groups.setdefault((_band(record, bands), kind), []).append(record)
    for (band, kind), records in sorted(groups.items()):
        rates = [record.config.method_spec.training.learning_rate for record in records if record.config.method_spec]
        put = partial(plot_points, axes, rates)
        if kind == "none":
            put([0.02] * len(records), records, "x", colour=QUIET, label="no objective", in_axis=True)
            continue
        values = [value for record in records if (value := _objective(record)) is not None]
        filled = kind == "COMPLETE"
        if band < 0:
            put(values, records, "o", colour=INK, filled=filled, label="no adapter")
        else:
            colour = drawing.rank_colour(band, len(bands))
            put(values, records, marker(band), colour=colour, filled=filled, label=_band_label(bands[band]))


def _by_objective(method: MethodRecords, spec: StudySpec) -> list[TrialRecord]:
    """The trials, the best first; those without an objective come last."""
    sign = -1 if spec.objective.direction == "maximize" else 1

    def order(record: TrialRecord) -> tuple[float, int]:
        value = _objective(record)
        return (math.inf if value is None else sign * value, record.config.number)

    return sorted(_tried(method), key=order)


def _bands(ranks: Sequence[int]) -> list[Band]:
    """The ranks that were tried, or, where they are many, bands of them with about as many trials each."""
    distinct = sorted(set(ranks))
    if len(distinct) <= MOST_BANDS:
        return [(rank, rank) for rank in distinct]
    ends = [round(place * len(distinct) / MOST_BANDS) for place in range(MOST_BANDS + 1)]
    return [(distinct[start], distinct[end - 1]) for start, end in itertools.pairwise(ends)]


def _band(record: TrialRecord, bands: Sequence[Band]) -> int:
    """Place of the band that holds the trial's rank; -1 without an adapter."""
    rank = _rank(record)
    return -1 if rank is None else next(place for place, (_, high) in enumerate(bands) if rank <= high)


def _band_label(band: Band) -> str:
    low, high = band
    return f"rank {low}" if low == high else f"rank {low} to {high}"


def _cut(axes: Axes, shown: Sequence[float]) -> int:
    """Leave far-off objectives outside the panel, so that the others are not squeezed; how many they are."""
    if not shown:
        return 0
    low, high, outside = limits(shown)
    if outside:
        margin = 0.08 * (high - low or 1.0)
        axes.set_ylim(low - margin, high + margin)
    return outside


def _cut_note(outside: int) -> str:
    return f" {counted(outside, 'trial')} with a far-off objective left out of the panel." if outside else ""


def _legend_of_panels(figure: Canvas, panels: Sequence[Axes]) -> None:
    """One legend for all panels: the ranks in order, then the rest."""
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = sorted(named, key=lambda label: (not label.startswith("rank"), _trailing_number(label), label))
    if order:
        figure.legend([named[label] for label in order], order, loc="outside upper left", ncols=LEGEND_COLUMNS)


def _plot_best_so_far(axes: Axes, place: int, method: MethodRecords, spec: StudySpec) -> None:
    better: Callable[[Sequence[float]], float] = max if spec.objective.direction == "maximize" else min
    numbers, values = zip(*_objectives(method), strict=True)
    best = list(itertools.accumulate(values, lambda one, other: better((one, other))))
    colour = series_colour(place)
    axes.step(numbers, best, where="post", color=colour)
    drawn = thinned(list(zip(numbers, values, _complete(method), strict=True)), MOST_POINTS)
    shown = ([number for number, _, _ in drawn], [value for _, value, _ in drawn])
    [points] = axes.plot(*shown, marker(place), color=colour, markersize=4, alpha=0.55)
    name_points(points, [described(record) for _, _, record in drawn])
    axes.plot([], [], color=colour, marker=marker(place), label=one_line(method.name))


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
