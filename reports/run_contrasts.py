"""All contrasts of a run: every two methods, each method and the base model, each method and the best constant answer.

They come from the confirm phase alone: the search's scores flatter whatever was chosen by them. A metric that is not
the mean or the ratio of its items' scores, such as a macro F1, cannot be compared item by item and is named.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evals.result import EvalResult, Metric
from reports import wording
from reports.contrast import BASE_MODEL, Contrast, against_constant
from reports.contrasting import all_contrasts, all_pairs, gives_its_score
from reports.gather import Gathered
from reports.sides import MetricName, Paired, Side, metric_names, pair, read_groups, read_side
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
    evaluations: tuple[EvalResult, ...]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def all(self) -> tuple[Side, ...]:
        """Methods, then the base model."""
        return (*self.methods, *self.base)

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


def contrasts_with_notes(gathered: Gathered) -> RunContrasts:
    """The same, with a sentence about everything that is left out."""
    sides = read_sides(gathered)
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
    base = gathered.confirm_baseline
    records = {method.name: method.scored for method in gathered.methods if method.scored}
    references = [] if base is None or base.evaluation is None else [base]
    everything = [*(record for scored in records.values() for record in scored), *references]
    return Sides(
        methods=tuple(_side(name, scored, gathered, is_trained=True) for name, scored in records.items()),
        base=tuple(_side(BASE_MODEL, [record], gathered, is_trained=False) for record in references),
        evaluations=tuple(record.evaluation for record in everything if record.evaluation is not None),
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
    compared = {str(name) for name in fit}
    groups = {name for name in sides.reported if name.partition("/")[0] in sides.groups}
    left_out = sorted(set(sides.reported) - compared - groups)
    if left_out and sides.methods:
        yield (
            f"No verdict on {wording.listed(left_out)}: not the mean or ratio of scores of single items, or no "
            "per-item answers."
        )
