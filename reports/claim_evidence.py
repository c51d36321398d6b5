"""What claims are tested against, and what a test finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports import wording
from reports.contrast import Contrast
from reports.gather import Gathered
from reports.searched import Search, searches
from reports.statistics import Interval
from reports.statistics.decisions import needed
from reports.summary import MethodSummary, Summary
from sweep.spec import MethodKind, ReportSpec
from sweep.status import best_trial

Outcome = Literal["holds", "does not hold", "cannot be told"]
POINTS = 100
USUAL_METRICS = ("acc", "exact_match", "pass@1", "pass_at_1")
USUAL_FILTERS = ("", "strict-match", "create_test", "flexible-extract")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a study says of a claim."""

    outcome: Outcome
    text: str
    """The numbers, or the reason why nothing can be told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """First side less second on one metric."""

    contrast: Contrast
    one: str
    other: str
    value: float
    interval: Interval

    @property
    def sentence(self) -> str:
        """The numbers."""
        scale, digits, unit = (POINTS, 1, " points") if self.contrast.is_proportion else (1, 3, "")
        low, high = scale * self.interval.low, scale * self.interval.high
        return (
            f"{self.one} less {self.other} on {self.contrast.metric}: {scale * self.value:+.{digits}f}{unit}, 95 % "
            f"interval {low:+.{digits}f} to {high:+.{digits}f}, {self.contrast.items:,} items"
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """A study, as claims look at it."""

    summary: Summary
    contrasts: Sequence[Contrast]
    finalists: dict[MethodKind, MethodSummary]
    """The best method of each kind, by the objective on the validation split."""
    searches: dict[str, Search]
    """By method."""
    report: ReportSpec

    def difference(self, one: MethodKind, other: MethodKind, task: str) -> Difference | str:
        """Compare two kinds on a task, or say why they cannot be compared."""
        for kind in (one, other):
            if kind not in self.finalists:
                return f"this study has no {kind} method with a complete trial"
        names = (self.finalists[one].name, self.finalists[other].name)
        on_task = [name for name in self.summary.metrics if name.partition("/")[0] == task]
        if not on_task:
            return f"there is no score on {task}"
        if self.summary.split != "test":
            return f"{names[0]} and {names[1]} have not been scored with fresh seeds yet"
        found = [self.between(*names, name) for name in sorted(on_task, key=_usual)]
        return next((one for one in found if one is not None), f"there are no scores of single items on {task} to pair")

    def between(self, one: str, other: str, metric: str) -> Difference | None:
        """The contrast of two methods, turned so that it is the first less the second."""
        for found in self.contrasts:
            if found.metric == metric and found.part_of is None:
                if (found.one, found.other) == (one, other):
                    return Difference(found, one, other, found.difference, found.interval)
                if (found.one, found.other) == (other, one):
                    turned = Interval(-found.interval.high, -found.interval.low)
                    return Difference(found, one, other, -found.difference, turned)
        return None


def gather_evidence(gathered: Gathered, summary: Summary, contrasts: Sequence[Contrast]) -> Evidence:
    """Put a study's finalists, contrasts and searches together."""
    finalists: dict[MethodKind, MethodSummary] = {}
    for kind in ("lora", "qlora", "full"):
        members = [method for method in summary.methods if method.records.spec.kind == kind and method.records.best]
        best = best_trial([method.records.best for method in members if method.records.best], gathered.spec)
        if best is not None:
            finalists[kind] = next(method for method in members if method.name == best.config.method)
    found = {search.name: search for search in searches(gathered)}
    return Evidence(summary, contrasts, finalists, found, gathered.spec.report)


def equal_within(found: Difference, margin: float) -> Finding:
    """Whether a difference is smaller than a margin, either way."""
    return within(found, -margin, margin, margin_name=_margin(margin, found))


def within(found: Difference, low: float, high: float, *, margin_name: str) -> Finding:
    """Whether the true difference lies between two ends, by its interval."""
    interval = found.interval
    if low < interval.low and interval.high < high:
        return Finding("holds", f"{found.sentence}: all of it within {margin_name}.")
    if interval.low > high or interval.high < low:
        return Finding("does not hold", f"{found.sentence}: all of it outside {margin_name}.")
    gap = min(high - found.value, found.value - low)
    return Finding(
        "cannot be told", f"{found.sentence}: the interval is wider than {margin_name} allows{_more(found, gap)}."
    )


def untold(reason: str) -> Finding:
    """A claim that cannot be tested."""
    return Finding("cannot be told", f"{reason[:1].upper()}{reason[1:]}.")


def all_of(findings: Sequence[Finding]) -> Finding:
    """A claim of several parts: it holds where all do, and falls with any."""
    order: Sequence[Outcome] = ("does not hold", "cannot be told", "holds")
    outcome = next(one for one in order if any(finding.outcome == one for finding in findings))
    return Finding(outcome, " ".join(dict.fromkeys(finding.text for finding in findings)))


def by_interval(interval: Interval, low: float, high: float, say: Callable[[str], str]) -> Finding:
    """Whether a number lies between two ends, by its interval; `say` puts the verdict's reason into a sentence."""
    if low <= interval.low and interval.high <= high:
        return Finding("holds", say("all of it within"))
    if interval.low > high or interval.high < low:
        return Finding("does not hold", say("all of it outside"))
    return Finding("cannot be told", say("not clearly within or outside"))


def _usual(name: str) -> tuple[int, int, str]:
    metric, _, chosen = name.partition("/")[2].partition(",")
    return (
        USUAL_METRICS.index(metric) if metric in USUAL_METRICS else len(USUAL_METRICS),
        USUAL_FILTERS.index(chosen) if chosen in USUAL_FILTERS else len(USUAL_FILTERS),
        name,
    )


def _margin(margin: float, found: Difference) -> str:
    if not found.contrast.is_proportion:
        return wording.number(margin)
    points = wording.number(POINTS * margin)
    return f"{points} point{'' if points == '1' else 's'}"


def _more(found: Difference, gap: float) -> str:
    """How many items would narrow the interval enough, were the difference as seen."""
    one = found.contrast
    enough = needed(gap, one.item_stderr, one.seed_stderr, one.reference, items=one.items, seeds=max(one.seeds)).items
    return "" if enough is None else f"; about {enough:,} items would do, were the difference as seen"
