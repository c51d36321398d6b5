"""Write a report as Markdown, for a repository or an issue.

Every text is escaped: a file name, an error message or a model's answer may hold anything, a table's bars and HTML
among it.
"""

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from reports.document import (
    Block,
    Cell,
    Code,
    Column,
    Comparison,
    Details,
    Document,
    Figure,
    Link,
    Paragraph,
    Section,
    Table,
)
from reports.wording import one_line, visible

# What can mean something within a line, and what can only at its beginning: a heading, a list, a quotation, a rule.
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
# Of these GitHub makes links by itself.
ADDRESS = re.compile(r"(https?|ftp|mailto|xmpp|www)([:.])", re.IGNORECASE)
OPENING = re.compile(r"^([#+=-]|\d+(?=[.)](?:\s|$)))")
ALIGNMENTS = {"text": "---", "number": "---:", "code": "---"}
PREFIXES = {"plain": "", "lead": "", "warning": "> **Note.** ", "note": ""}
FIGURES = "figures"
TO_RUN = "../"
"""The way from a report to its run directory."""


def render(document: Document, to_run: str = TO_RUN) -> str:
    """The whole report; `to_run` leads from its directory to the one that its links start from."""
    parts = [f"# {escape(document.title)}", escape(document.subtitle)]
    parts += [_block(block, to_run) for block in document.answer]
    for section in document.sections:
        parts += _section(section, to_run)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """The text as itself, on one line."""
    return OPENING.sub(_shielded, ADDRESS.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", one_line(text))))


def _shielded(opening: re.Match[str]) -> str:
    # A backslash before a digit would be shown, so a number is shielded by an entity.
    first, rest = opening.group()[0], opening.group()[1:]
    return f"&#{ord(first)};{rest}" if first.isdigit() else f"\\{first}"


def code_span(text: str) -> str:
    """The text in a code span, fenced by more backticks than it holds."""
    shown = one_line(text)
    if not shown:
        return ""
    fence = "`" * (_longest_run(shown) + 1)
    space = " " if "`" in shown else ""
    # A bar ends a table's cell even within a code span, and GitHub takes the backslash before it away again.
    return f"{fence}{space}{shown}{space}{fence}".replace("|", r"\|")


def _section(section: Section, to_run: str) -> list[str]:
    return [f"## {escape(section.title)}", *(_block(block, to_run) for block in section.blocks)]


def _paragraph(block: Paragraph, to_run: str) -> str:
    del to_run
    text = escape(block.text)
    return f"**{text}**" if block.kind == "lead" else f"{PREFIXES[block.kind]}{text}"


def _table(block: Table, to_run: str) -> str:
    titles = "| " + " | ".join(escape(column.title) for column in block.columns) + " |"
    rule = "| " + " | ".join(ALIGNMENTS[column.align] for column in block.columns) + " |"
    rows = [_row(block, place, to_run) for place in range(len(block.rows))]
    caption = f"\n\n{escape(block.caption)}" if block.caption else ""
    return "\n".join([titles, rule, *rows]) + caption


def _row(block: Table, place: int, to_run: str) -> str:
    mark = "**" if place in block.emphasized else ""
    cells = []
    for index, (column, value) in enumerate(zip(block.columns, block.rows[place], strict=True)):
        text = _cell(value, column, to_run)
        cells.append(f"{mark}{text}{mark}" if mark and index == 0 and text else text)
    return "| " + " | ".join(cells) + " |"


def _cell(cell: str | Cell, column: Column, to_run: str) -> str:
    if isinstance(cell, Cell):
        links = [link for link in cell.links if not link.target.startswith("#")]
        if len(cell.links) == 1 and links:
            return _link(Link(cell.text, links[0].target), to_run)
        if links:
            return ", ".join(_link(link, to_run) for link in links)
        cell = cell.text
    return code_span(cell) if column.align == "code" else escape(cell)


def _link(link: Link, to_run: str) -> str:
    return f"[{escape(link.text)}]({to_run}{quote(link.target)})"


def _figure(block: Figure, to_run: str) -> str:
    del to_run
    return f"![{escape(block.alternative)}]({FIGURES}/{quote(block.name)}.png)\n\n{escape(block.caption)}"


def _code(block: Code, to_run: str) -> str:
    del to_run
    fence = "`" * max(3, _longest_run(block.text) + 1)
    label = f"{escape(block.label)}:\n\n" if block.label else ""
    return f"{label}{fence}text\n{visible(block.text)}\n{fence}"


def _comparison(block: Comparison, to_run: str) -> str:
    return "\n\n".join([f"### {escape(block.title)}", *(_code(part, to_run) for part in block.parts)])


def _details(block: Details, to_run: str) -> str:
    return "\n\n".join([f"{escape(block.summary)}:", *(_block(part, to_run) for part in block.blocks)])


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


RENDERERS: Mapping[type, Callable[..., str]] = {
    Paragraph: _paragraph,
    Table: _table,
    Figure: _figure,
    Code: _code,
    Comparison: _comparison,
    Details: _details,
}


def _block(block: Block, to_run: str) -> str:
    return RENDERERS[type(block)](block, to_run)
