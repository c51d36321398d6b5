"""How far the losses of two models lie apart from item to item, as models of an earlier run tell.

A loss has no worst case, and two models that began as one have losses that rise and fall together far more than right
and wrong answers do. So nothing is assumed: the same items are paired that a verdict would pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from reports.contrast import BASE_MODEL, contrast
from reports.gather import Gathered, MethodRecords
from reports.sides import MetricName, Side, read_side
from sweep.record import TrialRecord


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """The scatter of the difference of one item's loss."""

    variance: float
    """Items of one group counted as the groups that they are."""
    told_by: str
    """Whose losses they were."""


def paired_loss(gathered: Gathered, metric: str) -> PairedLoss | None:
    """From what comes nearest to two finalists; none where no two models have per-item losses."""
    name = MetricName.of(metric)
    for told_by, pairs in (
        ("two methods' finalists did", _finalists(gathered)),
        ("the best trials of two methods did", _best(gathered)),
        ("the base model's and a trained model's did", _against_base(gathered)),
    ):
        found = [variance for one, other in pairs if (variance := _variance(gathered, one, other, name)) is not None]
        if found:
            return PairedLoss(fmean(found), told_by)
    return None


Pairs = Iterator[tuple[TrialRecord, TrialRecord]]


def _finalists(gathered: Gathered) -> Pairs:
    return combinations([method.scored[0] for method in gathered.methods if method.scored], 2)


def _best(gathered: Gathered) -> Pairs:
    return combinations([best for method in gathered.methods if (best := _trained(method)) is not None], 2)


def _against_base(gathered: Gathered) -> Pairs:
    for method in gathered.methods:
        if gathered.confirm_baseline is not None and method.scored:
            yield gathered.confirm_baseline, method.scored[0]
        best = _trained(method)
        if gathered.baseline is not None and best is not None:
            yield gathered.baseline, best


def _trained(method: MethodRecords) -> TrialRecord | None:
    """The method's best trial; its answers are with the trial that was run."""
    best = method.best
    if best is None or best.reused_from is None:
        return best
    return next((record for record in method.search if record.config.number == best.reused_from), None)


def _variance(gathered: Gathered, one: TrialRecord, other: TrialRecord, name: MetricName) -> float | None:
    found = contrast(_side(gathered, one), _side(gathered, other), name, higher_is_better=False)
    # Models that are the same to the last bit tell nothing of two that differ.
    return found.item_stderr**2 * found.items if found is not None and found.item_stderr > 0 else None


def _side(gathered: Gathered, record: TrialRecord) -> Side:
    directory = gathered.run.directory_of(record.config).eval
    return read_side(record.config.method or BASE_MODEL, [directory], is_trained=record.config.method is not None)
