"""All contrasts of a run: every two methods, each method and the base model, each method and the best constant answer.

They come from the confirm phase alone: the search's scores flatter whatever was chosen by them. A metric that is
neither the mean or the ratio of its items' scores nor a macro F1 cannot be compared, and is named with the reason.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evals.result import EvalResult, Metric
from reports import wording
from reports.contrast import BASE_MODEL, Contrast, against_constant
from reports.contrasting import all_contrasts, all_pairs, gives_its_score
from reports.gather import Gathered
from reports.pairing import Paired, pair
from reports.sides import MetricName, Side, metric_names, read_groups, read_side
from sweep.record import TrialRecord


@dataclass(frozen=True, slots=True)
class RunContrasts:
    """What could be compared, and what could not."""

    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    """Sentences about answers and metrics that are left out."""
    sides: "Sides"
    """The answers that were compared."""


@dataclass(frozen=True, slots=True)
class Sides:
    """A run's methods and base model, with what their records say."""

    methods: tuple[Side, ...]
    base: tuple[Side, ...]
    results: Mapping[str, tuple[EvalResult, ...]]
    """What the records say, by name of the side."""
    groups: Mapping[str, tuple[str, ...]]

    @property
    def all(self) -> tuple[Side, ...]:
        """Methods, then the base model."""
        return (*self.methods, *self.base)

    @property
    def evaluations(self) -> tuple[EvalResult, ...]:
        """What all records say."""
        return tuple(result for results in self.results.values() for result in results)

    def reported_by(self, name: str) -> list[Mapping[str, Metric]]:
        """Scores of each of a side's models."""
        return [result.metrics for result in self.results.get(name, ())]

    @property
    def reported(self) -> dict[str, list[Metric]]:
        """What the records give as each metric's values."""
        found: dict[str, list[Metric]] = {}
        for evaluation in self.evaluations:
            for name, metric in evaluation.metrics.items():
                found.setdefault(name, []).append(metric)
        return found


def pair_again(sides: Sides, one: Contrast) -> Paired | None:
    """The answers that a contrast of methods and base model was made of; none for one with a constant answer."""
    by_name = {side.name: side for side in sides.all}
    if one.one not in by_name or one.other not in by_name:
        return None
    name = MetricName.of(one.metric)
    return pair(by_name[one.one], by_name[one.other], name, sides.groups.get(name.task, ()))


def contrasts(gathered: Gathered) -> list[Contrast]:
    """Every contrast that a run's confirm phase allows, uncorrected."""
    return list(contrasts_with_notes(gathered).contrasts)


def contrasts_with_notes(gathered: Gathered, sides: Sides | None = None) -> RunContrasts:
    """The same, with a sentence about everything that is left out; `sides` are the answers, where they are at hand."""
    sides = read_sides(gathered) if sides is None else sides
    reported = sides.reported
    better = {name: metrics[0].higher_is_better for name, metrics in reported.items()}
    values = {name: [metric.value for metric in metrics] for name, metrics in reported.items()}
    names = metric_names(sides.all)
    fit = [name for name in names if gives_its_score(name, sides.all, values.get(str(name), []))]
    found = all_contrasts(all_pairs(sides.methods, sides.base), fit, better, sides.groups)
    found += _of_constants(sides, fit)
    return RunContrasts(tuple(found), tuple(_notes(sides, fit)), sides)


def read_sides(gathered: Gathered) -> Sides:
    """Read the answers of the finalists and of the base model on the test split."""
    records = {method.name: method.scored for method in gathered.methods if method.scored}
    return _read(gathered, records, gathered.confirm_baseline)


def read_validation_sides(gathered: Gathered) -> Sides:
    """Read the answers of each method's best trial and of the base model on the validation split."""
    best = {method.name: (method.best,) for method in gathered.methods if method.best is not None}
    return _read(gathered, best, gathered.baseline)


def _read(gathered: Gathered, records: Mapping[str, Sequence[TrialRecord]], base: TrialRecord | None) -> Sides:
    references = [] if base is None or base.evaluation is None else [base]
    everything = [*(record for scored in records.values() for record in scored), *references]
    return Sides(
        methods=tuple(_side(name, scored, gathered, is_trained=True) for name, scored in records.items()),
        base=tuple(_side(BASE_MODEL, [record], gathered, is_trained=False) for record in references),
        results={
            name: tuple(record.evaluation for record in scored if record.evaluation is not None)
            for name, scored in {**records, BASE_MODEL: references}.items()
        },
        groups=read_groups(gathered.directory(record).eval for record in everything),
    )


def _side(name: str, records: Sequence[TrialRecord], gathered: Gathered, *, is_trained: bool) -> Side:
    return read_side(name, [gathered.directory(record).eval for record in records], is_trained=is_trained)


def _of_constants(sides: Sides, names: Sequence[MetricName]) -> Iterator[Contrast]:
    constants = next((evaluation.constant for evaluation in sides.evaluations if evaluation.constant), {})
    for name in names:
        if str(name) in constants:
            made = [against_constant(side, name, constants[str(name)]) for side in sides.methods]
            yield from (one for one in made if one is not None and math.isfinite(one.difference))


def _notes(sides: Sides, fit: Sequence[MetricName]) -> Iterator[str]:
    for side in sides.all:
        yield from side.lost
    yield from no_verdict_notes(sides, fit)


def no_verdict_notes(sides: Sides, fit: Sequence[MetricName]) -> Iterator[str]:
    """Every reported metric that has no verdict, by reason."""
    compared = {str(name) for name in fit}
    groups = {name for name in sides.reported if name.partition("/")[0] in sides.groups}
    left_out = sorted(set(sides.reported) - compared - groups) if sides.methods else []
    by_reason: dict[str, list[str]] = {}
    for name in left_out:
        by_reason.setdefault(_reason(MetricName.of(name), sides), []).append(name)
    for reason, names in sorted(by_reason.items()):
        yield f"No verdict on {wording.listed(names)}: {reason}."


def _reason(name: MetricName, sides: Sides) -> str:
    answers = [items for side in sides.all for model in side.models if (items := model.get((name.task, name.filter)))]
    if not answers:
        return "no per-item answers"
    if any(name.metric in items.values for items in answers):
        return "the score is not the mean or ratio of the scores of single items, which is what is compared"
    if any(name.metric in items.labels for items in answers):
        return "it is computed from all answers at once, and single items have no score to compare"
    return "single items have no such score"
