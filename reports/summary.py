"""What a study found, as numbers: the methods side by side on one metric, with what they cost.

The test split decides once there are scores on it. Until then the best trials are compared on the validation split,
which flatters them, since they were chosen on it: whatever shows these numbers has to say so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evals.result import EvalResult, Metric
from reports.contrast import BASE_MODEL
from reports.gather import Gathered, MethodRecords
from reports.grouped import constant_errors, grouped_errors
from reports.run_contrasts import Sides, read_sides, read_validation_sides
from reports.statistics import Estimate, GroupedError, estimate
from sweep.config import Split
from sweep.record import TrainingResult, TrialRecord
from sweep.spec import StudySpec

Grouped = Mapping[str, GroupedError]
"""Clustered errors by metric."""
PREFERRED = ("own/accuracy", "own/exact_match", "own/field_match", "own/normalized_match", "own/loss")
"""The metrics that a reader wants first, where the study maximizes none."""


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """One method: its scores and what they cost."""

    name: str
    records: MethodRecords
    scored: Sequence[TrialRecord]
    """The records that the scores come from."""
    scores: Mapping[str, Estimate]
    """By metric."""
    train_seconds: float | None
    """Mean over the scored records, as are the speeds below."""
    peak_memory_bytes: int | None
    """The largest of the scored records: on the GPU where there is one."""
    trainable_share: float | None
    tokens_per_second: float | None
    checkpoint_bytes: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All methods against the base model and the best constant answer."""

    split: Split
    """Where the scores come from."""
    metric: str | None
    """What the methods are ranked by; none where nothing was scored."""
    metrics: Sequence[str]
    """Every metric that something was scored by, the deciding one first."""
    baseline: Mapping[str, Estimate]
    constant: Mapping[str, Estimate]
    methods: Sequence[MethodSummary]
    on_device: bool
    """Whether peak memory is that of a GPU."""

    @property
    def ranked(self) -> list[MethodSummary]:
        """The methods that have the deciding score, the best first; ties in the study file's order."""
        metric = self.metric
        if metric is None:
            return []
        scored = [method for method in self.methods if metric in method.scores]
        return sorted(scored, key=lambda method: _merit(method.scores[metric]), reverse=True)


def summarize(gathered: Gathered, sides: Sides | None = None) -> Summary:
    """Put a run's methods side by side; `sides` are the answers on the test split, where they were read already."""
    split: Split = "test" if any(method.scored for method in gathered.methods) else "validation"
    base = gathered.confirm_baseline if split == "test" else gathered.baseline
    evaluation = base.evaluation if base is not None else None
    errors = _errors(gathered, split, sides)
    methods = [_summarize_method(method, split, errors.of(method.name)) for method in gathered.methods]
    constants = next((found.constant for found in _evaluations(base, methods) if found.constant), {})
    metrics = _metrics(gathered.spec, evaluation, methods)
    return Summary(
        split=split,
        metric=next(iter(metrics), None),
        metrics=metrics,
        baseline={} if evaluation is None else _estimates([evaluation.metrics], errors.of(BASE_MODEL)),
        constant=_estimates([constants], errors.of_constant(constants)),
        methods=methods,
        on_device=any(_device_bytes(record) for method in methods for record in method.scored),
    )


def deciding_metric(spec: StudySpec, available: Sequence[str]) -> str | None:
    """The metric that methods are ranked by: what the study maximizes, or else the answers' quality, or the loss."""
    candidates = [name for name in (spec.objective.maximize, *PREFERRED, spec.objective.metric) if name is not None]
    return next((name for name in candidates if name in available), next(iter(sorted(available)), None))


@dataclass(frozen=True, slots=True)
class _Errors:
    """Clustered errors by name of a method or of the base model."""

    sides: Sides | None

    def of(self, name: str) -> Grouped:
        """Those of one side."""
        found = next((side for side in self.sides.all if side.name == name), None) if self.sides else None
        if found is None or self.sides is None:
            return {}
        return grouped_errors(found, self.sides.reported_by(name))

    def of_constant(self, constants: Mapping[str, Metric]) -> Grouped:
        """Those of the best constant answer, to the items that the first side was asked."""
        first = next((side for side in self.sides.all if side.models), None) if self.sides else None
        return {} if first is None else constant_errors(first, constants)


def _errors(gathered: Gathered, split: Split, sides: Sides | None) -> _Errors:
    """Answers are read for their groups alone: without groups the records say everything."""
    if gathered.spec.data.group is None:
        return _Errors(None)
    if split == "validation":
        return _Errors(read_validation_sides(gathered))
    return _Errors(read_sides(gathered) if sides is None else sides)


def _summarize_method(method: MethodRecords, split: Split, errors: Grouped) -> MethodSummary:
    best = [method.best] if method.best is not None and method.best.evaluation is not None else []
    scored = list(method.scored) if split == "test" else best
    measured = alone(scored)
    training = [record.training for record in measured if record.training is not None]
    memory = [peak for record in measured if (peak := _device_bytes(record) or _host_bytes(record))]
    return MethodSummary(
        name=method.name,
        records=method,
        scored=scored,
        scores=_estimates([record.evaluation.metrics for record in scored if record.evaluation is not None], errors),
        train_seconds=_mean([record.seconds["train"] for record in measured if "train" in record.seconds]),
        peak_memory_bytes=max(memory, default=None),
        trainable_share=_mean_of(training, lambda one: one.trainable_share),
        tokens_per_second=_mean_of(training, lambda one: one.tokens_per_second),
        checkpoint_bytes=_mean_of(training, lambda one: one.checkpoint_bytes),
    )


def alone(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that had their device to themselves, which tell what one run takes; all of them where none had."""
    return [record for record in records if record.sharing is None] or list(records)


def _estimates(results: Sequence[Mapping[str, Metric]], errors: Grouped) -> dict[str, Estimate]:
    names = sorted({name for metrics in results for name in metrics})
    found = {name: [metrics[name] for metrics in results if name in metrics] for name in names}
    return {name: estimate(metrics, errors.get(name)) for name, metrics in found.items()}


def _metrics(spec: StudySpec, base: EvalResult | None, methods: Sequence[MethodSummary]) -> list[str]:
    by_methods = sorted({name for method in methods for name in method.scores})
    available = by_methods or sorted(base.metrics if base is not None else ())
    first = deciding_metric(spec, available)
    preferred = [name for name in PREFERRED if name in available]
    return list(dict.fromkeys([*([] if first is None else [first]), *preferred, *available]))


def _evaluations(base: TrialRecord | None, methods: Sequence[MethodSummary]) -> list[EvalResult]:
    records = ([] if base is None else [base]) + [record for method in methods for record in method.scored]
    return [record.evaluation for record in records if record.evaluation is not None]


def _merit(found: Estimate) -> float:
    # A diverged model's score is no number, and worse than any.
    if math.isnan(found.value):
        return -math.inf
    return found.value if found.higher_is_better else -found.value


def _device_bytes(record: TrialRecord) -> int | None:
    return None if record.memory is None else record.memory.device_bytes


def _host_bytes(record: TrialRecord) -> int | None:
    return None if record.memory is None else record.memory.host_bytes


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _mean_of(training: Sequence[TrainingResult], value: Callable[[TrainingResult], float]) -> float | None:
    return _mean([value(one) for one in training])
