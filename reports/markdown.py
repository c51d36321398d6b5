"""Write a report as Markdown, for a repository or an issue.

Every text is escaped: a file name, an error message or a model's answer may hold anything, a table's bars and HTML
among it.
"""

import re
from collections.abc import Callable, Mapping

from reports.document import Block, Code, Comparison, Document, Figure, Paragraph, Section, Table
from reports.wording import one_line, visible

# What can mean something within a line, and what can only at its beginning: a heading, a list, a quotation, a rule.
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
OPENING = re.compile(r"^([#+=-]|\d+(?=[.)]))")
ALIGNMENTS = {"text": "---", "number": "---:", "code": "---"}
PREFIXES = {"plain": "", "lead": "", "warning": "> **Note.** ", "note": ""}
FIGURES = "figures"


def render(document: Document) -> str:
    """The whole report."""
    parts = [f"# {escape(document.title)}", escape(document.subtitle), *(_block(block) for block in document.answer)]
    for section in document.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """The text as itself, on one line."""
    return OPENING.sub(_shielded, SPECIAL.sub(r"\\\1", one_line(text)))


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


def _section(section: Section) -> list[str]:
    return [f"## {escape(section.title)}", *(_block(block) for block in section.blocks)]


def _paragraph(block: Paragraph) -> str:
    text = escape(block.text)
    return f"**{text}**" if block.kind == "lead" else f"{PREFIXES[block.kind]}{text}"


def _table(block: Table) -> str:
    titles = "| " + " | ".join(escape(column.title) for column in block.columns) + " |"
    rule = "| " + " | ".join(ALIGNMENTS[column.align] for column in block.columns) + " |"
    rows = [_row(block, place) for place in range(len(block.rows))]
    caption = f"\n\n{escape(block.caption)}" if block.caption else ""
    return "\n".join([titles, rule, *rows]) + caption


def _row(block: Table, place: int) -> str:
    mark = "**" if place in block.emphasized else ""
    cells = []
    for index, (column, value) in enumerate(zip(block.columns, block.rows[place], strict=True)):
        text = code_span(value) if column.align == "code" else escape(value)
        cells.append(f"{mark}{text}{mark}" if mark and index == 0 and text else text)
    return "| " + " | ".join(cells) + " |"


def _figure(block: Figure) -> str:
    return f"![{escape(block.alternative)}]({FIGURES}/{block.name}.png)\n\n{escape(block.caption)}"


def _code(block: Code) -> str:
    fence = "`" * max(3, _longest_run(block.text) + 1)
    label = f"{escape(block.label)}:\n\n" if block.label else ""
    return f"{label}{fence}text\n{visible(block.text)}\n{fence}"


def _comparison(block: Comparison) -> str:
    return "\n\n".join([f"### {escape(block.title)}", *(_code(part) for part in block.parts)])


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


RENDERERS: Mapping[type, Callable[..., str]] = {
    Paragraph: _paragraph,
    Table: _table,
    Figure: _figure,
    Code: _code,
    Comparison: _comparison,
}


def _block(block: Block) -> str:
    return RENDERERS[type(block)](block)
