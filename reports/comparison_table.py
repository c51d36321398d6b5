"""A comparison as a person sees it in a terminal, and as programs read it."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from reports import wording
from reports.compare import Comparison
from reports.csv_files import verdict_row
from reports.statistics.decisions import SIGNIFICANCE
from reports.verdict import Verdict
from reports.verdict_wording import amount, p_in_words, with_unit

SHOWN_PARTS = 10
INTERVAL = "95 % interval"
VERDICT = "verdict on the first"


def rendered(found: Comparison) -> RenderableType:
    """One row a metric, then the sentences, and before all what makes the comparison unfair."""
    warnings = [Text(f"warning: {text}") for text in found.warnings]
    sentences = [Text(verdict.sentence) for verdict in found.verdicts]
    notes = [Text(text) for text in (*_about_parts(found), *found.notes)]
    return Group(*warnings, _table(found), *sentences, *notes)


def as_json(found: Comparison) -> dict[str, object]:
    """Plain values for a program."""
    return {
        "first": found.one,
        "second": found.other,
        "warnings": list(found.warnings),
        "notes": list(found.notes),
        "verdicts": [verdict_row(verdict) for verdict in found.verdicts],
        "parts": [verdict_row(verdict) for verdict in found.parts],
    }


class _FirstThatFits:
    """Of several tables with less and less in them, the first that a terminal has room for, else the last."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fitting = (
            table for table in self._tables if table.__rich_measure__(console, options).minimum <= options.max_width
        )
        yield next(fitting, self._tables[-1])


def _table(found: Comparison) -> RenderableType:
    """One row a metric; what a narrow terminal has no room for stands in the sentences too."""
    family = max((verdict.family for verdict in found.verdicts), default=1)
    columns: dict[str, list[str]] = {
        "metric": [_metric(verdict) for verdict in found.verdicts],
        found.one: [wording.score(verdict.contrast.scores[0]) for verdict in found.verdicts],
        found.other: [wording.score(verdict.contrast.scores[1]) for verdict in found.verdicts],
        "difference": [_difference(verdict) for verdict in found.verdicts],
        INTERVAL: [_interval(verdict) for verdict in found.verdicts],
        "p" if family == 1 else f"p (of {family}, corrected)": [
            p_in_words(verdict.adjusted_p_value).removeprefix("p = ").removeprefix("p ") for verdict in found.verdicts
        ],
        VERDICT: [_outcome(verdict) for verdict in found.verdicts],
        "pairs": [f"{verdict.contrast.items:,}" for verdict in found.verdicts],
        "unpaired": [f"{sum(verdict.contrast.unpaired):,}" for verdict in found.verdicts],
    }
    fewer = {name: cells for name, cells in columns.items() if name not in {"pairs", "unpaired"}}
    fewest = {name: cells for name, cells in fewer.items() if name != INTERVAL and not name.startswith("p")}
    return _FirstThatFits([_of_columns(chosen) for chosen in (columns, fewer, fewest)])


def _of_columns(columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        is_text = name in {"metric", VERDICT}
        table.add_column(
            escape(name), justify="left" if is_text else "right", no_wrap=name == "metric", overflow="fold"
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(escape, row))
    return table


def _metric(verdict: Verdict) -> str:
    return f"{verdict.contrast.metric} {'↑' if verdict.contrast.higher_is_better else '↓'}"


def _difference(verdict: Verdict) -> str:
    one = verdict.contrast
    return f"{amount(one.difference, one)}{' points' if one.is_proportion else ''}"


def _interval(verdict: Verdict) -> str:
    one = verdict.contrast
    return f"{amount(one.interval.low, one)} to {amount(one.interval.high, one)}"


def _outcome(verdict: Verdict) -> str:
    if verdict.outcome == "equivalent" and verdict.margin is not None:
        return f"equivalent within {with_unit(verdict.margin, verdict.contrast)}"
    return verdict.outcome


def _about_parts(found: Comparison) -> list[str]:
    """Subjects and the like, in a sentence."""
    if not found.parts:
        return []
    decided = [verdict for verdict in found.parts if verdict.outcome in {"better", "worse"}]
    opening = f"Parts of groups: {len(decided)} of {len(found.parts)} differ (p ≤ {SIGNIFICANCE} after correction)."
    return [opening, *(verdict.sentence for verdict in decided[:SHOWN_PARTS])]
