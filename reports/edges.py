"""Which ranges were too narrow: the best trials lie at their edge, so better ones may lie beyond.

The best trials are a method's best tenth, at least three. A range was hit at an edge where its best trial and two
thirds of the best lie in the range's outermost tenth (in equal ratios on a logarithmic range), or at the last of the
listed numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports import wording
from reports.document import Block, Column, Paragraph, Table
from reports.searched import Axis, Search, Tried

OUTERMOST = 0.1
BEST_SHARE, FEWEST_BEST = 0.1, 3
AT_THE_EDGE = 2 / 3
FEWEST_TRIALS = 6
FEWEST_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Edge:
    """A range that was hit at one end."""

    method: str
    axis: Axis
    side: Literal["lower", "upper"]
    there: int
    """Best trials at that end."""
    best: int
    """Best trials looked at."""

    @property
    def sentence(self) -> str:
        """What was seen, and what to do about it."""
        end = wording.setting(self.axis.ends[0 if self.side == "lower" else 1])
        direction = "below" if self.side == "lower" else "above"
        return (
            f"{self.method}: {self.there} of the best {self.best} trials have {self.axis.leaf} at the {self.side} end "
            f"of what was searched ({end}), the best one too. Widen it {direction} {end}: better may lie there."
        )


def edges(search: Search) -> list[Edge]:
    """The ranges of one method that were hit at an end; none where there are too few trials to say."""
    if len(search.tried) < FEWEST_TRIALS:
        return []
    count = max(FEWEST_BEST, round(BEST_SHARE * len(search.tried)))
    best = search.ordered()[:count]
    found = [_edge(search.name, axis, best) for axis in search.axes if _has_ends(axis)]
    return [edge for edge in found if edge is not None]


def edge_blocks(found: Sequence[Search]) -> list[Block]:
    """A sentence for each range that was hit at an end, or one that none was; then where the best trials lie."""
    told = [search for search in found if len(search.tried) >= FEWEST_TRIALS and any(map(_has_ends, search.axes))]
    if not told:
        return []
    hit = [edge for search in told for edge in edges(search)]
    if hit:
        return [*(Paragraph(edge.sentence, "note") for edge in hit), _table(told)]
    names = wording.listed([search.name for search in told])
    return [Paragraph(f"The best trials of {names} lie inside every range: none has to be widened."), _table(told)]


def _edge(method: str, axis: Axis, best: Sequence[Tried]) -> Edge | None:
    first, *_ = places = [axis.place(one.record.config.params[axis.name]) for one in best]
    lower = [place <= OUTERMOST if axis.dimension.values is None else place <= 0 for place in places]
    upper = [place >= 1 - OUTERMOST if axis.dimension.values is None else place >= 1 for place in places]
    for side, there in (("lower", lower), ("upper", upper)):
        if there[places.index(first)] and sum(there) >= AT_THE_EDGE * len(best):
            return Edge(method, axis, "lower" if side == "lower" else "upper", sum(there), len(best))
    return None


def _has_ends(axis: Axis) -> bool:
    return axis.is_numeric and (axis.dimension.values is None or len(set(axis.levels)) >= FEWEST_LEVELS)


def _table(found: Sequence[Search]) -> Table:
    """The searched range of each setting beside the values of the best trials."""
    rows = []
    for search in found:
        best = search.ordered()[: max(FEWEST_BEST, round(BEST_SHARE * len(search.tried)))]
        for axis in search.axes:
            if not _has_ends(axis):
                continue
            values = [axis.number(one.record.config.params[axis.name]) for one in best]
            low, high = axis.ends
            rows.append(
                [
                    search.name,
                    axis.leaf,
                    f"{wording.setting(low)} to {wording.setting(high)}",
                    wording.setting(values[0]),
                    f"{wording.setting(min(values))} to {wording.setting(max(values))} ({len(best)})",
                ]
            )
    columns = [
        Column("method"),
        Column("setting", "code"),
        Column("searched", "number"),
        Column("best trial", "number"),
        Column("best trials (how many)", "number"),
    ]
    caption = (
        "Where the best trials lie in what was searched. A range is to be widened where the best trial and two thirds "
        "of the best tenth (at least three) lie in its outermost tenth, in equal ratios where it is logarithmic."
    )
    return Table(columns, rows, caption)
