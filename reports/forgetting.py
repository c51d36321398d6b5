"""What a method lost while it learned: its change against the base model on everything that it was not trained for.

Benchmarks and general text are not in the training rows, so a fall there is forgetting. Changes are paired item by
item; whether one is a loss is the verdict's to say, which is corrected for the number of comparisons.
"""

from collections.abc import Sequence

from reports import wording
from reports.contrast import BASE_MODEL, Contrast
from reports.document import Block, Column, Paragraph, Table
from reports.gather import Gathered
from reports.verdict import Verdict

TRAINED_FOR = frozenset({"own", "judge_pairs", "judge_score"})
"""Tasks over the user's own rows: what training was for."""
POINTS = 100


def forgetting_blocks(gathered: Gathered, verdicts: Sequence[Verdict]) -> list[Block]:
    """A sentence for each method and a table on what was forgotten, or what it would take to see it."""
    found = changes(verdicts)
    if found:
        return [*(Paragraph(text) for text in _sentences(found)), _table(found)]
    scored = {name for record in gathered.records if record.evaluation for name in record.evaluation.metrics}
    opening = "Whether anything was forgotten cannot be told:"
    if all(_task(name) in TRAINED_FOR for name in scored):
        text = f"{opening} only the user's own rows were scored. Benchmarks in evaluation.confirm would show it."
    else:
        text = f"{opening} no finalist and the base model have scores of single items on the same tasks."
    return [Paragraph(text, "note")]


def changes(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Each method against the base model on tasks that it was not trained for; parts of a group are left out."""
    return [verdict for verdict in verdicts if _is_change(verdict.contrast)]


def _is_change(one: Contrast) -> bool:
    return one.other == BASE_MODEL and one.part_of is None and _task(one.metric) not in TRAINED_FOR


def _sentences(found: Sequence[Verdict]) -> list[str]:
    texts = []
    for name in dict.fromkeys(verdict.contrast.one for verdict in found):
        own = [verdict for verdict in found if verdict.contrast.one == name]
        lost = [_with_change(verdict.contrast) for verdict in own if verdict.outcome == "worse"]
        gained = [_with_change(verdict.contrast) for verdict in own if verdict.outcome == "better"]
        kept = [verdict.contrast.metric for verdict in own if verdict.outcome == "equivalent"]
        open_yet = [verdict.contrast.metric for verdict in own if verdict.outcome == "undecided"]
        parts = [
            *([f"lost against the base model on {wording.listed(lost)}"] if lost else []),
            *([f"gained on {wording.listed(gained)}"] if gained else []),
            *([f"is as good as before, within the margin, on {wording.listed(kept)}"] if kept else []),
        ]
        undecided = f" Not decided: {wording.listed(open_yet)}." if open_yet else ""
        told = f"{name} {'; it '.join(parts)}." if parts else f"No loss or gain of {name} is shown."
        texts.append(f"{told}{undecided}")
    return texts


def _with_change(one: Contrast) -> str:
    return f"{one.metric} ({_change(one)}, 95 % interval {_interval(one)})"


def _change(one: Contrast) -> str:
    return f"{POINTS * one.difference:+.1f} points" if one.is_proportion else f"{one.difference:+.3f}"


def _interval(one: Contrast) -> str:
    scale, digits = (POINTS, 1) if one.is_proportion else (1, 3)
    return f"{scale * one.interval.low:+.{digits}f} to {scale * one.interval.high:+.{digits}f}"


def _table(found: Sequence[Verdict]) -> Table:
    columns = [
        Column("method"),
        Column("metric", "code"),
        Column("base model", "number"),
        Column("method's score", "number"),
        Column("change", "number"),
        Column("95 % interval", "number"),
        Column("items", "number"),
        Column("against the base"),
    ]
    rows = [_row(verdict) for verdict in found]
    caption = (
        "Change against the base model on what was not trained for, over the same items and all seeds. Verdicts are "
        "corrected for their number, intervals are not. ↑ higher is better, ↓ lower is better. Losses are in nats per "
        "token."
    )
    return Table(columns, rows, caption)


def _row(verdict: Verdict) -> list[str]:
    one = verdict.contrast
    return [
        one.one,
        f"{one.metric} {'↑' if one.higher_is_better else '↓'}",
        wording.score(one.scores[1]),
        wording.score(one.scores[0]),
        _change(one),
        _interval(one),
        f"{one.items:,}",
        verdict.outcome,
    ]


def _task(metric: str) -> str:
    return metric.partition("/")[0]
