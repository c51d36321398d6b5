"""A report as blocks, written once and rendered several times.

HTML, Markdown and LaTeX differ only in how they write a block, so none can say what another does not. Texts are plain:
each renderer escapes all of them. Links lead into the run directory, or to an anchor of the report itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Align = Literal["text", "number", "code"]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    text: str
    kind: Literal["plain", "lead", "warning", "note"] = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column."""

    title: str
    align: Align = "text"


@dataclass(frozen=True, slots=True)
class Link:
    """A way from a cell to what it stands for."""

    text: str
    target: str
    """A path relative to the run directory, or `#` and an anchor."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a table that knows more than it shows; where there is no more to know, a plain text will do."""

    text: str
    value: float | None = None
    """What the cell sorts by; without it, the number that its text begins with."""
    links: Sequence[Link] = ()
    """Where its text leads; with several links, their texts are shown instead."""
    anchor: str = ""
    """Name under which a link finds this row."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts; the first column names the row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    stacks: bool = False
    """On a narrow screen each row becomes a block of its own; otherwise the table scrolls sideways."""
    emphasized: frozenset[int] = frozenset()
    """Rows that stand out."""
    name: str = ""
    """Name of the file that it is given to papers in; none where it is for the report alone."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture drawn beside the report."""

    name: str
    """File name without its ending."""
    svg: str
    """The picture for a page, in the page's own colours."""
    caption: str
    alternative: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True, slots=True)
class Code:
    """Text kept as it is."""

    text: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One item, and what was answered to it."""

    title: str
    parts: Sequence[Code]


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that a reader opens who wants them."""

    summary: str
    blocks: "Sequence[Block]"


Block = Paragraph | Table | Figure | Code | Comparison | Details


def text_of(cell: str | Cell) -> str:
    """What a cell shows."""
    return cell if isinstance(cell, str) else cell.text


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    anchor: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    answer: Sequence[Block]
    """What stands before the first heading: the answer."""
    sections: Sequence[Section]
    kind: str = "Fine-tuning study"
    """What stands above the title."""
    files: Sequence[Link] = ()
    """Where the same numbers are to be had for other programs."""
