"""How much of the time, the tokens and the device training made use of, method by method.

The share of the device is useful operations a second against a matrix product that the same process ran on the same
device. What was not measured, as in records of older versions, is shown as missing and never as zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from reports import wording
from reports.document import Block, Column, Table
from reports.gather import Gathered
from reports.timeline import rows_of
from sweep.record import TrialRecord

ALL_METHODS = "all methods"
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """One method's training, all its trials together."""

    name: str
    train_share: float | None
    """Of the trials' wall time, what was spent in training steps."""
    waiting_seconds: float | None
    """In which workers waited for the driver's word; none where no trial says so."""
    overhead_seconds: float
    """Wall time that no part accounts for."""
    tokens: int
    """Trained on, padding not counted."""
    positions: int | None
    """Token positions computed, padding included; none where a trial did not count them."""
    flops: float
    """Estimated for the tokens, padding not counted."""
    computed_flops: float | None
    """The same with padding."""
    roofline_share: float | None
    """The middle one of the trials."""

    @property
    def useful_share(self) -> float | None:
        """Of the token positions computed, what was no padding."""
        return self.tokens / self.positions if self.positions else None


def efficiencies(gathered: Gathered) -> list[Efficiency]:
    """Every method that trained, in the study file's order; where there are several, then all of them together."""
    found = [(name, records) for name, records in rows_of(gathered) if any(record.training for record in records)]
    if len(found) > 1:
        found.append((ALL_METHODS, [record for _, records in found for record in records]))
    return [efficiency(name, records) for name, records in found]


def efficiency_blocks(gathered: Gathered) -> list[Block]:
    """One table, or nothing where nothing was trained."""
    found = efficiencies(gathered)
    if not found:
        return []
    titles = ("in training", "waiting", "overhead", "tokens", "no padding", "FLOPs", "with padding", "of the device")
    columns = [Column("method"), *(Column(title, "number") for title in titles)]
    return [Table(columns, [_cells(one) for one in found], _caption(gathered))]


def efficiency(name: str, records: Sequence[TrialRecord]) -> Efficiency:
    """What these trials, all together, made of time, tokens and the device."""
    trained = [record.training for record in records if record.training is not None]
    total = sum(record.seconds_total for record in records)
    waits = [record.seconds["wait"] for record in records if "wait" in record.seconds]
    shares = [share for record in records if (share := record.roofline_share) is not None]
    return Efficiency(
        name=name,
        train_share=sum(record.seconds.get("train", 0.0) for record in records) / total if total > 0 else None,
        waiting_seconds=sum(waits) if waits else None,
        overhead_seconds=sum(record.overhead_seconds for record in records),
        tokens=sum(one.tokens for one in trained),
        positions=_sum_if_known([one.positions for one in trained]),
        flops=sum(one.estimated_flops for one in trained),
        computed_flops=_sum_if_known([one.computed_flops for one in trained]),
        roofline_share=median(shares) if shares else None,
    )


def _sum_if_known(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _cells(one: Efficiency) -> list[str]:
    computed = wording.NONE if one.computed_flops is None else wording.scientific(one.computed_flops)
    return [
        one.name,
        wording.percent(one.train_share),
        wording.duration(one.waiting_seconds),
        wording.duration(one.overhead_seconds),
        f"{one.tokens:,}",
        wording.percent(one.useful_share),
        wording.scientific(one.flops),
        computed,
        wording.percent(one.roofline_share),
    ]


def _caption(gathered: Gathered) -> str:
    """Says against what the device's share was measured."""
    records = [record for _, found in rows_of(gathered) for record in found]
    product = next((one.device.matrix_product for one in records if one.device and one.device.matrix_product), None)
    text = (
        "All trials of a method together, trained ones for tokens and operations. Operations are estimated: 4 a "
        "parameter and token, 2 more a trained one. Overhead is what no part accounts for."
    )
    if product is None:
        return f"{text} How fast the device multiplies was not measured."
    rate = f"{wording.number(product.flops_per_second / 1e9)} GFLOP/s"
    return (
        f"{text} Of the device: the trials' median share of what a matrix product reached in the same process; the "
        f"first trial had {rate} in {product.dtype}, {product.side} by {product.side}."
    )
