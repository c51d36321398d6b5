"""What a method lost while it learned: its change against the base model on everything that it was not trained for.

Benchmarks and general text are not in the training rows, so a fall there is forgetting. Changes are paired item by
item and come with their intervals; a fall is called one where the interval leaves out 0.
"""

from collections.abc import Sequence

from reports import wording
from reports.contrast import BASE_MODEL, Contrast
from reports.document import Block, Column, Paragraph, Table
from reports.gather import Gathered
from sweep.spec import ReportSpec

TRAINED_FOR = frozenset({"own", "judge_pairs", "judge_score"})
"""Tasks over the user's own rows: what training was for."""
GENERAL_TEXT = "general_text"
POINTS = 100


def forgetting_blocks(gathered: Gathered, contrasts: Sequence[Contrast]) -> list[Block]:
    """A sentence and a table on what was forgotten, or what it would take to see it."""
    found = changes(contrasts)
    scored = {name for record in gathered.records if record.evaluation for name in record.evaluation.metrics}
    if not any(_task(name) not in TRAINED_FOR for name in scored):
        text = (
            "Whether anything was forgotten cannot be told: only the user's own rows were scored. Benchmarks or "
            f"`{GENERAL_TEXT}` in `evaluation.confirm` would show it."
        )
        return [Paragraph(text, "note")]
    if not found:
        text = (
            "Whether anything was forgotten cannot be told: no finalist and the base model have per-item scores on "
            "the same tasks yet."
        )
        return [Paragraph(text, "note")]
    report = gathered.spec.report
    return [*(Paragraph(text) for text in _sentences(found, report)), _table(found)]


def changes(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Each method against the base model on tasks that it was not trained for; parts of a group are left out."""
    return [
        one
        for one in contrasts
        if one.other == BASE_MODEL and one.part_of is None and _task(one.metric) not in TRAINED_FOR
    ]


def has_lost(one: Contrast) -> bool:
    """Whether the method is worse than the base model beyond item and seed noise."""
    return one.interval.high < 0 if one.higher_is_better else one.interval.low > 0


def _sentences(found: Sequence[Contrast], report: ReportSpec) -> list[str]:
    texts = []
    for name in dict.fromkeys(one.one for one in found):
        own = [one for one in found if one.one == name]
        lost = [one for one in own if has_lost(one)]
        if lost:
            texts.append(f"{name} lost against the base model on {wording.listed([_lost(one) for one in lost])}.")
        else:
            kept = [one for one in own if _is_kept(one, report)]
            sure = f"; {wording.listed([one.metric for one in kept])} is as good as before" if kept else ""
            text = f"{name} shows no loss on {wording.counted(len(own), 'metric')} that it was not trained for"
            texts.append(f"{text}{sure}. An interval that reaches below 0 leaves a loss of that size open.")
    return texts


def _is_kept(one: Contrast, report: ReportSpec) -> bool:
    """Whether a loss as large as the margin is ruled out."""
    margin = report.margins.get(one.metric, report.margin if one.is_proportion else None)
    worst = one.interval.low if one.higher_is_better else -one.interval.high
    return margin is not None and worst > -margin


def _lost(one: Contrast) -> str:
    return f"{one.metric} ({_change(one)}, {_interval(one)})"


def _change(one: Contrast) -> str:
    if one.is_proportion:
        return f"{POINTS * one.difference:+.1f} points"
    return f"{one.difference:+.3f}"


def _interval(one: Contrast) -> str:
    scale, digits = (POINTS, 1) if one.is_proportion else (1, 3)
    return f"{scale * one.interval.low:+.{digits}f} to {scale * one.interval.high:+.{digits}f}"


def _table(found: Sequence[Contrast]) -> Table:
    columns = [
        Column("method"),
        Column("metric", "code"),
        Column("base model", "number"),
        Column("method's score", "number"),
        Column("change", "number"),
        Column("95 % interval", "number"),
        Column("items", "number"),
        Column("lost", "text"),
    ]
    rows = [
        [
            one.one,
            f"{one.metric} {'↑' if one.higher_is_better else '↓'}",
            wording.score(one.scores[1]),
            wording.score(one.scores[0]),
            _change(one),
            _interval(one),
            f"{one.items:,}",
            "yes" if has_lost(one) else "not shown",
        ]
        for one in found
    ]
    caption = (
        "Change against the base model on what was not trained for, over the same items and all seeds, uncorrected for "
        "the number of comparisons. ↑ higher is better, ↓ lower is better. Losses are in nats per token."
    )
    return Table(columns, rows, caption)


def _task(metric: str) -> str:
    return metric.partition("/")[0]
