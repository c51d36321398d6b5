"""Is one better than the other? Better, worse, equivalent within a margin, or undecided: always with an interval.

A contrast compares two named sides on one metric, item by item. Headline contrasts, those on the deciding metric, are
corrected together by Holm's method; all others together by Benjamini and Hochberg's; those on the parts of a group,
such as MMLU's subjects, stand aside in a family of their own.

A side is better where the corrected p-value is at most 0.05 and the interval leaves out 0; equivalent where two
one-sided tests against the margin, corrected the same way, show that the difference is smaller: then it counts as
none, even where it is no chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.contrast import BASE_MODEL, CONSTANT_ANSWER, Contrast
from reports.gather import Gathered
from reports.run_contrasts import Sides, contrasts, contrasts_with_notes
from reports.statistics import (
    benjamini_hochberg,
    detectable_difference,
    equivalence_p,
    holm,
    needed,
    non_inferiority_p,
)
from reports.statistics.decisions import SIGNIFICANCE, Needed
from reports.verdict_wording import sentence_of
from sweep.spec import ReportSpec

__all__ = [
    "BASE_MODEL",
    "CONSTANT_ANSWER",
    "Contrast",
    "Judgement",
    "Outcome",
    "Verdict",
    "beaten_by",
    "contrasts",
    "judge",
    "judge_run",
    "margin_of",
]

Outcome = Literal["better", "worse", "equivalent", "undecided"]
Correction = Literal["Holm", "Benjamini-Hochberg"]
CORRECTIONS: dict[Correction, Callable[[Sequence[float]], list[float]]] = {
    "Holm": holm,
    "Benjamini-Hochberg": benjamini_hochberg,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a contrast says, in view of all others."""

    contrast: Contrast
    outcome: Outcome
    """Of the first side: better or worse than the second, equivalent to it, or undecided."""
    adjusted_p_value: float
    """Corrected for the number of contrasts."""
    correction: Correction
    family: int
    """Contrasts that were corrected together."""
    is_headline: bool
    """Whether the metric is the one that methods are ranked by."""
    margin: float | None
    """Difference that counts as none, fixed in the study; none where the metric has no margin."""
    equivalence_p_value: float | None
    """That the sides differ by the margin or more, corrected the same way; none without a margin."""
    non_inferiority_p_value: float | None
    """That the first side is worse by the margin or more, corrected the same way; none without a margin."""
    detectable: float
    """Smallest true difference that these items and seeds would have shown with 80 % power at 5 %."""
    items_needed: int | None
    """Items that would decide an undecided contrast were the difference as observed; none where nothing is open, and
    where no number of items alone would."""
    seeds_needed: int | None
    """The same for seeds on each trained side."""
    sentence: str
    """The verdict for a person to quote."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that a run's confirm phase says about its methods."""

    headline: tuple[Verdict, ...]
    """On the metric that methods are ranked by."""
    others: tuple[Verdict, ...]
    """On every other metric."""
    parts: tuple[Verdict, ...]
    """On the parts of groups, such as MMLU's subjects."""
    notes: tuple[str, ...]
    """Sentences about what is left out."""
    sides: Sides
    """The answers that were compared."""

    @property
    def all(self) -> tuple[Verdict, ...]:
        """Every verdict."""
        return (*self.headline, *self.others, *self.parts)


def judge_run(gathered: Gathered, headline: str | None, sides: Sides | None = None) -> Judgement:
    """Compare a run's methods, base model and best constant answer on everything that the confirm phase scored.

    `sides` are the answers on the test split, where they were read already.
    """
    found = contrasts_with_notes(gathered, sides)
    verdicts = judge(found.contrasts, gathered.spec.report, headline)
    whole = [verdict for verdict in verdicts if verdict.contrast.part_of is None]
    return Judgement(
        headline=tuple(verdict for verdict in whole if verdict.is_headline),
        others=tuple(verdict for verdict in whole if not verdict.is_headline),
        parts=tuple(verdict for verdict in verdicts if verdict.contrast.part_of is not None),
        notes=found.notes,
        sides=found.sides,
    )


def judge(found: Sequence[Contrast], report: ReportSpec, headline: str | None) -> list[Verdict]:
    """Give every contrast its verdict, corrected within its family, in the order given."""
    families: dict[tuple[bool, bool], list[int]] = {}
    for place, one in enumerate(found):
        families.setdefault((one.metric == headline, one.part_of is not None), []).append(place)
    verdicts: dict[int, Verdict] = {}
    for (is_headline, _), places in families.items():
        judged = _judge_family([found[place] for place in places], report, is_headline=is_headline)
        verdicts |= dict(zip(places, judged, strict=True))
    return [verdicts[place] for place in range(len(found))]


def beaten_by(best: str, verdicts: Sequence[Verdict]) -> set[str]:
    """What a side is better than, by the headline verdicts."""
    found = set()
    for verdict in verdicts:
        one, other = verdict.contrast.one, verdict.contrast.other
        if verdict.is_headline and (best, verdict.outcome) == (one, "better"):
            found.add(other)
        if verdict.is_headline and (best, verdict.outcome) == (other, "worse"):
            found.add(one)
    return found


def margin_of(contrast: Contrast, report: ReportSpec) -> float | None:
    """The difference that counts as none on this metric: its own, or that of proportions."""
    return report.margins.get(contrast.metric, report.margin if contrast.is_proportion else None)


def _judge_family(family: Sequence[Contrast], report: ReportSpec, *, is_headline: bool) -> list[Verdict]:
    correction: Correction = "Holm" if is_headline else "Benjamini-Hochberg"
    adjust = CORRECTIONS[correction]
    margins = [margin_of(one, report) for one in family]
    adjusted = adjust([one.p_value for one in family])
    # A contrast without a margin is not tested against one; it does not make the others' family larger.
    bounded = [place for place, margin in enumerate(margins) if margin is not None]
    equivalent = dict(zip(bounded, adjust([_equivalence(family[at], margins[at]) for at in bounded]), strict=True))
    inferior = dict(zip(bounded, adjust([_inferiority(family[at], margins[at]) for at in bounded]), strict=True))
    return [
        _judge_one(
            one,
            adjusted_p_value=adjusted[place],
            correction=correction,
            family=len(family),
            is_headline=is_headline,
            margin=margins[place],
            equivalence_p_value=equivalent.get(place),
            non_inferiority_p_value=inferior.get(place),
        )
        for place, one in enumerate(family)
    ]


def _judge_one(  # noqa: PLR0913
    one: Contrast,
    *,
    adjusted_p_value: float,
    correction: Correction,
    family: int,
    is_headline: bool,
    margin: float | None,
    equivalence_p_value: float | None,
    non_inferiority_p_value: float | None,
) -> Verdict:
    outcome = _outcome(one, adjusted_p_value, equivalence_p_value)
    open_yet = _needed(one, margin) if outcome == "undecided" else Needed(None, None)
    sentence = sentence_of(
        one,
        outcome=outcome,
        adjusted_p_value=adjusted_p_value,
        correction=correction,
        family=family,
        margin=margin,
        is_non_inferior=non_inferiority_p_value is not None and non_inferiority_p_value <= SIGNIFICANCE,
        needed=open_yet,
    )
    return Verdict(
        contrast=one,
        outcome=outcome,
        adjusted_p_value=adjusted_p_value,
        correction=correction,
        family=family,
        is_headline=is_headline,
        margin=margin,
        equivalence_p_value=equivalence_p_value,
        non_inferiority_p_value=non_inferiority_p_value,
        detectable=detectable_difference(one.stderr, one.reference),
        items_needed=open_yet.items,
        seeds_needed=open_yet.seeds,
        sentence=sentence,
    )


def _outcome(one: Contrast, adjusted: float, equivalence: float | None) -> Outcome:
    if equivalence is not None and equivalence <= SIGNIFICANCE:
        return "equivalent"
    # The exact tests of two models and the interval may disagree at the border: both have to say so.
    if adjusted <= SIGNIFICANCE and (one.interval.low > 0 or one.interval.high < 0):
        return "better" if one.advantage > 0 else "worse"
    return "undecided"


def _needed(one: Contrast, margin: float | None) -> Needed:
    """What would decide, either way: that they differ, or that they do so by less than the margin."""
    seeds = max(one.seeds)
    ways = [abs(one.centre)] if margin is None else [abs(one.centre), margin - abs(one.centre)]
    found = [needed(gap, one.item_stderr, one.seed_stderr, one.reference, items=one.items, seeds=seeds) for gap in ways]
    return Needed(
        items=min((way.items for way in found if way.items is not None), default=None),
        seeds=min((way.seeds for way in found if way.seeds is not None), default=None),
    )


def _equivalence(one: Contrast, margin: float | None) -> float:
    return 1.0 if margin is None else equivalence_p(one.centre, one.stderr, margin, one.reference)


def _inferiority(one: Contrast, margin: float | None) -> float:
    if margin is None:
        return 1.0
    centre = one.centre if one.higher_is_better else -one.centre
    return non_inferiority_p(centre, one.stderr, margin, one.reference)
