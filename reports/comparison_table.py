"""A comparison as a person sees it in a terminal, and as programs read it."""

from rich import box
from rich.console import Group, RenderableType
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


def _table(found: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    family = max((verdict.family for verdict in found.verdicts), default=1)
    corrected = "p" if family == 1 else f"p (of {family}, corrected)"
    for name in (escape(found.one), escape(found.other), "difference", "95 % interval", corrected):
        table.add_column(name, justify="right")
    table.add_column("verdict on the first")
    table.add_column("pairs", justify="right")
    table.add_column("unpaired", justify="right")
    for verdict in found.verdicts:
        table.add_row(*map(escape, _row(verdict)))
    return table


def _row(verdict: Verdict) -> list[str]:
    one = verdict.contrast
    unit = " points" if one.is_proportion else ""
    outcome = verdict.outcome
    if outcome == "equivalent" and verdict.margin is not None:
        return [*_numbers(verdict, unit), f"equivalent within {with_unit(verdict.margin, one)}", *_counts(verdict)]
    return [*_numbers(verdict, unit), outcome, *_counts(verdict)]


def _numbers(verdict: Verdict, unit: str) -> list[str]:
    one = verdict.contrast
    return [
        f"{one.metric} {'↑' if one.higher_is_better else '↓'}",
        wording.score(one.scores[0]),
        wording.score(one.scores[1]),
        f"{amount(one.difference, one)}{unit}",
        f"{amount(one.interval.low, one)} to {amount(one.interval.high, one)}",
        p_in_words(verdict.adjusted_p_value).removeprefix("p = ").removeprefix("p "),
    ]


def _counts(verdict: Verdict) -> list[str]:
    one = verdict.contrast
    return [f"{one.items:,}", f"{sum(one.unpaired):,}"]


def _about_parts(found: Comparison) -> list[str]:
    """Subjects and the like, in a sentence."""
    if not found.parts:
        return []
    decided = [verdict for verdict in found.parts if verdict.outcome in {"better", "worse"}]
    opening = f"Parts of groups: {len(decided)} of {len(found.parts)} differ (p ≤ {SIGNIFICANCE} after correction)."
    return [opening, *(verdict.sentence for verdict in decided[:SHOWN_PARTS])]
