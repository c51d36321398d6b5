"""What a score's error and interval are, in words that stand under a table."""

from collections.abc import Mapping, Sequence

from reports import wording
from reports.statistics import Estimate, IntervalKind

CLUSTERED = "standard errors are clustered by them (CR2), as those of the verdicts are"
INTERVALS: Mapping[IntervalKind, str] = {
    "Wilson": "Wilson's, of items that are right or wrong",
    "normal": "1.96 standard errors either way",
    "Wilson, clustered": (
        "Wilson's, for as many independent items as would have this error, with a t quantile for the groups"
    ),
    "t, clustered": "a t interval with the groups' degrees of freedom",
}


def interval_note(found: Sequence[Estimate]) -> str:
    """Which interval it is, and how the items' error was had."""
    kinds = sorted({one.kind for one in found if one.kind is not None})
    if not kinds:
        return ""
    opening = f"Interval, 95 %: {wording.listed([INTERVALS[kind] for kind in kinds])}; spread between seeds is added."
    return f"{opening}{errors_note(found)}"


def errors_note(found: Sequence[Estimate]) -> str:
    """That errors are clustered, where they are; begins with a space."""
    groups = sorted({one.groups for one in found if one.groups is not None})
    if not groups:
        return ""
    if groups == [1]:
        return " All items are of one group: nothing tells the error."
    counts = wording.listed([f"{count:,}" for count in groups])
    unknown = any(one.groups is not None and one.item_stderr is None for one in found)
    ending = " Where it is not known which items are right, there is no error." if unknown else ""
    return f" Items share groups ({counts}): {CLUSTERED}.{ending}"
