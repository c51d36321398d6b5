"""A report as blocks, written once and rendered twice.

HTML and Markdown differ only in how they write a block, so neither can say what the other does not. Texts are plain:
each renderer escapes all of them.
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
class Table:
    """Rows of texts; the first column names the row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    stacks: bool = False
    """On a narrow screen each row becomes a block of its own; otherwise the table scrolls sideways."""
    emphasized: frozenset[int] = frozenset()
    """Rows that stand out."""


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


Block = Paragraph | Table | Figure | Code | Comparison


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
