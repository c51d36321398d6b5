"""What training together gave: device seconds of a token among others against alone, from trials that ran both ways."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.plan.hours import are_alike
from sweep.record import TrialRecord
from sweep.spec import MethodSpec

TOGETHER = 1.5
"""Trials at the same time, on average over its steps, from which one is taken to have been trained together."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time of a token together over its time alone."""

    ratio: float
    together: int
    """Trials that were trained together."""
    alone: int
    """Trials that were trained alone."""


def measured_ratio(records: Sequence[TrialRecord], method: MethodSpec, train_sha256: str) -> Ratio | None:
    """From trials of the same kind of method on the same rows in micro-batches as large; none without both kinds.

    How much is gained hangs on how many tokens a step has, so that other rows and batches tell nothing.
    """
    like = [
        record
        for record in records
        if record.training is not None
        and record.training.tokens
        and record.seconds.get("train")
        and record.data_sha256.get("train") == train_sha256
        and (trained := record.trained_method) is not None
        and are_alike(trained, method)
        and trained.training.micro_batch_size == method.training.micro_batch_size
    ]
    shared = [record for record in like if record.sharing is not None and record.sharing.lanes >= TOGETHER]
    single = [record for record in like if record.sharing is None]
    if not shared or not single:
        return None
    return Ratio(_token_seconds(shared) / _token_seconds(single), len(shared), len(single))


def _token_seconds(records: Sequence[TrialRecord]) -> float:
    tokens = sum(record.training.tokens for record in records if record.training is not None)
    return sum(record.seconds["train"] for record in records) / tokens
