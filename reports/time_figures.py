"""Figures of time: what ran when, and where the time went."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from reports.document import Figure
from reports.drawing import DOTTED, INK, PAPER, QUIET, SERIES, Drawing, framed, label_points, new_figure
from reports.gather import Gathered
from reports.points import described, legend_outside
from reports.summary import Summary
from reports.timeline import WAITING, Row, Span, part_names, parts_of, rows_of, timeline
from reports.wording import counted, duration, one_line

HATCHES = ("", "///", "\\\\\\", "---", "|||", "+++", "xxx")
"""Parts differ by their filling too, not by colour alone."""
MOST_BARS = 300
TOUCHING = 0.002
"""Bars of a crowded timeline that are closer than this share of its length are drawn as one."""
MINUTE, HOUR, UNITS_FROM = 60.0, 3600.0, 2.0
CONFIRM_HATCH = "////"


def plot_time_by_part(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Time by part, a bar for the base model and each method."""
    del summary
    found = [(name, parts_of(records)) for name, records in rows_of(gathered)]
    found = [(name, parts) for name, parts in found if parts]
    if not found:
        return None
    unit, seconds = _unit(max(sum(parts.values()) for _, parts in found))
    figure, [axes] = new_figure(0.95 + 0.32 * len(found))
    named = [part for part in part_names([parts for _, parts in found]) if part != WAITING]
    begun = [0.0] * len(found)
    for place, part in enumerate([*named, WAITING]):
        widths = [parts.get(part, 0.0) / seconds for _, parts in found]
        if any(widths):
            colour = QUIET if part == WAITING else SERIES[place % len(SERIES)]
            hatch = "" if part == WAITING else HATCHES[place % len(HATCHES)]
            bars = axes.barh(
                range(len(found)), widths, left=begun, height=0.6, color=colour, label=one_line(part), linewidth=0.6
            )
            for bar in bars:
                bar.set(hatch=hatch, edgecolor=PAPER)
        begun = [start + width for start, width in zip(begun, widths, strict=True)]
    axes.set_yticks(range(len(found)), [one_line(name) for name, _ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(f"time, all runs together ({unit})")
    axes.grid(visible=False, axis="y")
    legend_outside(figure, [axes], columns=6)
    caption = (
        "Where the time went, by part, over all that ran of a method: its search, its repetitions, and what failed or "
        "was pruned."
    )
    return framed("time_by_part", figure, caption)


def plot_timeline(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Every trial as a bar from its beginning to its end."""
    del summary
    laid = timeline(gathered)
    if laid is None or laid.seconds <= 0:
        return None
    unit, seconds = _unit(laid.seconds)
    lanes = sum(row.lanes for row in laid.rows)
    figure, [axes] = new_figure(min(6.0, 0.85 + 0.22 * len(laid.rows) + 0.14 * lanes))
    crowded = sum(len(row.spans) for row in laid.rows) > MOST_BARS
    top = 0.0
    ticks = []
    for row in laid.rows:
        _plot_row(axes, row, top, seconds, laid.seconds * TOUCHING if crowded else None)
        ticks.append(top + row.lanes / 2)
        top += row.lanes + 0.6
    for pause in laid.pauses:
        axes.axvline(pause.at / seconds, color=QUIET, linestyle=DOTTED, linewidth=1.1)
    axes.set_yticks(ticks, [one_line(row.name) for row in laid.rows])
    axes.set_ylim(top - 0.3, -0.3)
    axes.set_xlim(0, laid.seconds / seconds)
    axes.set_xlabel(f"time since the first trial began ({unit})")
    axes.grid(visible=False, axis="y")
    legend_outside(figure, [axes], columns=4)
    return framed("timeline", figure, _timeline_caption(crowded=crowded, pauses=[one.seconds for one in laid.pauses]))


def _timeline_caption(*, crowded: bool, pauses: Sequence[float]) -> str:
    text = "What ran when: a bar for each trial, beside each other where they ran at once."
    if crowded:
        text += " Bars that all but touch are drawn as one, with the look of the first."
    if pauses:
        text += (
            f" Dotted lines: {counted(len(pauses), 'pause')}, {duration(sum(pauses))} in all, taken out of the clock."
        )
    return text


KINDS = {
    "search, complete": (SERIES[0], ""),
    "search, pruned": (PAPER, ""),
    "failed": (PAPER, "xxxx"),
    "base model and repetitions": (SERIES[1], CONFIRM_HATCH),
}
"""Fill and filling of a bar by what it stands for."""


def _kind(span: Span) -> str:
    record = span.record
    if record.state == "FAIL":
        return "failed"
    if record.config.phase != "search":
        return "base model and repetitions"
    return "search, complete" if record.state == "COMPLETE" else "search, pruned"


def _plot_row(axes: Axes, row: Row, top: float, seconds: float, touching: float | None) -> None:
    labelled = set(axes.get_legend_handles_labels()[1])
    for start, end, lane, kind, first in _bars(row, touching):
        colour, hatch = KINDS[kind]
        edge = PAPER if colour != PAPER else INK
        label = "" if kind in labelled else kind
        labelled.add(kind)
        (bar,) = axes.barh(
            [top + lane + 0.5], [(end - start) / seconds], left=start / seconds, height=0.84, color=colour, label=label
        )
        bar.set(edgecolor=edge, linewidth=0.4, hatch=hatch)
        if touching is None:
            label_points(bar, [_described(first)])


def _described(span: Span) -> str:
    return f"{described(span.record)}\n{duration(span.start)} to {duration(span.end)}"


def _bars(row: Row, touching: float | None) -> list[tuple[float, float, int, str, Span]]:
    """Start, end, lane and kind of each bar, and its first trial; with `touching`, near ones of a kind are merged."""
    bars: list[tuple[float, float, int, str, Span]] = []
    for lane in range(row.lanes):
        for span in (span for span in row.spans if span.lane == lane):
            kind = _kind(span)
            if touching is not None and bars and bars[-1][2] == lane and span.start - bars[-1][1] <= touching:
                start, end, _, before, first = bars[-1]
                if before == kind or span.end - span.start <= touching:
                    bars[-1] = (start, max(end, span.end), lane, before, first)
                    continue
            bars.append((span.start, span.end, lane, kind, span))
    return bars


def _unit(seconds: float) -> tuple[str, float]:
    if seconds >= UNITS_FROM * HOUR:
        return "hours", HOUR
    return ("minutes", MINUTE) if seconds >= UNITS_FROM * MINUTE else ("seconds", 1.0)
