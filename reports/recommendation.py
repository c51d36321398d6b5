"""Which method to take under stated limits, and which ones no other betters at less cost.

The limits are `report.within` of the study. A method whose cost on a limited measure is not known does not count as
fitting: a recommendation must not rest on a guess. Fronts and recommendations go by scores as they are; what the data
cannot tell apart is said beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports import wording
from reports.contrast import Contrast
from reports.costs import HOUR_SECONDS, Cost, costs, money
from reports.document import Block, Paragraph
from reports.gather import Gathered
from reports.statistics import Estimate
from reports.summary import Summary
from sweep.spec import ReportSpec, WithinSpec

GIGA, MEGA = 1e9, 1e6


@dataclass(frozen=True, slots=True)
class Measure:
    """A cost that can be limited."""

    title: str
    limit: Callable[[WithinSpec], float | None]
    value: Callable[[Cost], float | None]
    """In the limit's unit."""
    say: Callable[[float, ReportSpec], str]


def _hours(cost: Cost) -> float | None:
    return None if cost.train_seconds is None else cost.train_seconds / HOUR_SECONDS


def _gigabytes(cost: Cost) -> float | None:
    return None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / GIGA


def _megabytes(cost: Cost) -> float | None:
    return None if cost.saved_bytes is None else cost.saved_bytes / MEGA


MEASURES: Sequence[Measure] = (
    Measure("peak memory", lambda limits: limits.memory_gb, _gigabytes, lambda value, _: wording.size(value * GIGA)),
    Measure(
        "training time",
        lambda limits: limits.train_hours,
        _hours,
        lambda value, _: wording.duration(value * HOUR_SECONDS),
    ),
    Measure("training cost", lambda limits: limits.cost, lambda cost: cost.price, money),
    Measure("saved size", lambda limits: limits.adapter_mb, _megabytes, lambda value, _: wording.size(value * MEGA)),
)


@dataclass(frozen=True, slots=True)
class Dominated:
    """A point that another one betters: no better, and no cheaper."""

    name: str
    by: str


def front(points: Mapping[str, tuple[float, float]]) -> tuple[list[str], list[Dominated]]:
    """Split points of (merit, cost) into the Pareto front, the cheapest first, and the dominated ones.

    A point is dominated where another has at least its merit at no more cost, and one of the two is better. Each
    dominated point names the best that does so.
    """
    on, below = [], []
    for name, (merit, cost) in points.items():
        better = [
            (other_merit, -other_cost, other)
            for other, (other_merit, other_cost) in points.items()
            if other_merit >= merit and other_cost <= cost and (other_merit, -other_cost) != (merit, -cost)
        ]
        if better:
            below.append(Dominated(name, max(better, key=lambda one: one[:2])[2]))
        else:
            on.append(name)
    return sorted(on, key=lambda name: (points[name][1], points[name][0])), below


def recommendation_blocks(gathered: Gathered, summary: Summary, contrasts: Sequence[Contrast]) -> list[Block]:
    """The best method within the study's limits, why others are left out, and what is not told apart from it."""
    report = gathered.spec.report
    limited = [measure for measure in MEASURES if measure.limit(report.within) is not None]
    metric = summary.metric
    ranked = summary.ranked
    if not limited or metric is None or not ranked:
        return []
    known = {cost.name: cost for cost in costs(gathered, summary)}
    reasons = {method.name: _reasons(known[method.name], limited, report) for method in ranked}
    fitting = [method for method in ranked if not reasons[method.name]]
    where = f"Within {_limits(limited, report)}"
    left_out = [f"{name} is left out: {', '.join(found)}." for name, found in reasons.items() if found]
    if not fitting:
        return [Paragraph(" ".join([f"{where}: no method fits.", *left_out]), "lead")]
    best = fitting[0]
    facts = [f"{metric} {wording.estimated(best.scores[metric])}", *_facts(known[best.name], report)]
    text = f"{where}, the best is {best.name} ({'; '.join(facts)})."
    blocks: list[Block] = [Paragraph(" ".join([text, *left_out]), "lead")]
    level = [method.name for method in fitting[1:] if not _is_told(best.name, method.name, metric, contrasts)]
    if level:
        text = f"These items do not tell {wording.listed([best.name, *level])} apart on {metric}; "
        blocks.append(Paragraph(text + _cheapest([best.name, *level], known, report), "note"))
    return blocks


def dominance_sentences(gathered: Gathered, summary: Summary) -> list[str]:
    """For each measure, the front and what is dominated, by scores as they are."""
    report, metric = gathered.spec.report, summary.metric
    if metric is None:
        return []
    known = {cost.name: cost for cost in costs(gathered, summary)}
    sentences = []
    for measure in MEASURES:
        points = {
            method.name: (merit(method.scores[metric]), value)
            for method in summary.ranked
            if (value := measure.value(known[method.name])) is not None
        }
        if len(points) > 1:
            on, below = front(points)
            against = [f"{one.name} by {one.by} ({_comparison(one, measure, known, report)})" for one in below]
            dominated = f" Dominated: {'; '.join(against)}." if against else " Nothing is dominated."
            sentences.append(f"{measure.title.capitalize()}: on the front {wording.listed(on)}.{dominated}")
    return sentences


def merit(found: Estimate) -> float:
    """A score turned so that more is better."""
    return found.value if found.higher_is_better else -found.value


def _comparison(one: Dominated, measure: Measure, known: Mapping[str, Cost], report: ReportSpec) -> str:
    own, other = measure.value(known[one.name]), measure.value(known[one.by])
    assert own is not None  # noqa: S101 - both are on the figure
    assert other is not None  # noqa: S101
    if own == other:
        return f"a better score at the same {measure.say(own, report)}"
    return f"{measure.say(other, report)} against {measure.say(own, report)}, and no worse a score"


def _limits(limited: Sequence[Measure], report: ReportSpec) -> str:
    limits = [(measure, measure.limit(report.within)) for measure in limited]
    return wording.listed(
        [f"{measure.say(limit, report)} of {measure.title}" for measure, limit in limits if limit is not None]
    )


def _reasons(cost: Cost, limited: Sequence[Measure], report: ReportSpec) -> list[str]:
    """Why a method does not fit."""
    reasons = []
    for measure in limited:
        limit, value = measure.limit(report.within), measure.value(cost)
        if value is None:
            reasons.append(f"its {measure.title} is not known")
        elif limit is not None and value > limit:
            reasons.append(f"its {measure.title} is {measure.say(value, report)}")
    return reasons


def _facts(cost: Cost, report: ReportSpec) -> list[str]:
    known = [(measure, measure.value(cost)) for measure in MEASURES]
    return [f"{measure.title} {measure.say(value, report)}" for measure, value in known if value is not None]


def _is_told(best: str, other: str, metric: str, contrasts: Sequence[Contrast]) -> bool:
    """Whether the interval of the paired difference leaves out 0; where nothing was paired, it is not told."""
    found = next((one for one in contrasts if one.metric == metric and {one.one, one.other} == {best, other}), None)
    return found is not None and (found.interval.low > 0 or found.interval.high < 0)


def _cheapest(names: Sequence[str], known: Mapping[str, Cost], report: ReportSpec) -> str:
    """Which of several takes least, by measure; measures on which they are level are left out."""
    least: dict[str, list[str]] = {}
    for measure in MEASURES:
        values = {name: value for name in names if (value := measure.value(known[name])) is not None}
        if len(values) == len(names) and len(set(values.values())) > 1:
            name = min(values, key=lambda name: values[name])
            least.setdefault(name, []).append(f"{measure.title} ({measure.say(values[name], report)})")
    texts = [f"{name} has the smallest {wording.listed(measures)}" for name, measures in least.items()]
    return f"{'; '.join(texts)}." if texts else "nor does what they cost."
