"""What a difference with its error decides: equivalence, non-inferiority, and what it would take to tell more.

Powers are those of a two-sided test at 5 % with 80 % power, before any correction for many comparisons.
"""

import math
from dataclasses import dataclass

from reports.statistics.reference import Reference

SIGNIFICANCE, POWER = 0.05, 0.8


def equivalence_p(centre: float, stderr: float, margin: float, reference: Reference) -> float:
    """P-value of "they differ by the margin or more": two one-sided tests (Schuirmann 1987), the larger of the two."""
    return max(
        non_inferiority_p(centre, stderr, margin, reference), non_inferiority_p(-centre, stderr, margin, reference)
    )


def non_inferiority_p(centre: float, stderr: float, margin: float, reference: Reference) -> float:
    """P-value of "the first is worse by the margin or more", where more is better."""
    if stderr <= 0:
        return 0.0 if centre > -margin else 1.0
    return reference.tail((centre + margin) / stderr)


def detectable_difference(stderr: float, reference: Reference) -> float:
    """Smallest true difference that this error would have shown (Bloom 1995, with the reference's quantiles)."""
    return (reference.quantile(SIGNIFICANCE / 2) + reference.quantile(1 - POWER)) * stderr


@dataclass(frozen=True, slots=True)
class Needed:
    """What would decide: either is enough where the other stays; none where it cannot do it alone."""

    items: int | None
    seeds: int | None
    """Per trained side."""


def needed(  # noqa: PLR0913
    gap: float, item_stderr: float, seed_stderr: float, reference: Reference, *, items: int, seeds: int
) -> Needed:
    """How many items, or else seeds, would show a true gap of this size.

    The item part of the variance falls with items and the seed part with seeds; the quantiles stay those of now,
    which is on the safe side.
    """
    if gap <= 0:
        return Needed(None, None)
    allowed = (gap / (reference.quantile(SIGNIFICANCE / 2) + reference.quantile(1 - POWER))) ** 2
    return Needed(
        items=_scaled(items, item_stderr**2, allowed - seed_stderr**2),
        seeds=_scaled(seeds, seed_stderr**2, allowed - item_stderr**2),
    )


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    """How many of them bring their variance down to what is allowed; none where nothing does, or nothing must."""
    if allowed <= 0 or variance <= 0:
        return None
    return max(count + 1, math.ceil(count * variance / allowed))
