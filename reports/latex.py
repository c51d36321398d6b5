r"""Tables for papers, in LaTeX: `\usepackage{booktabs,graphicx}`, then `\input{tables/scores}`.

Every text is escaped: `_`, `%` and `\` are common in names of metrics and files. pdfLaTeX stops at a character that
its fonts do not have, so one beyond Western Latin is written as itself for XeLaTeX and LuaLaTeX, and as its code for
pdfLaTeX.
"""

import re
from collections.abc import Mapping

from reports.document import Align, Document, Table, text_of
from reports.wording import one_line

SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\char34{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a row these two would be its arguments; two hyphens would be a dash.
    "[": "{[}",
    "*": "{*}",
    "-": "{-}",
    "\u00a0": "~",
    "\u00b0": r"\textdegree{}",
    "\u00b1": r"$\pm$",
    "\u00b2": r"$^2$",
    "\u00b3": r"$^3$",
    "\u00b5": r"$\mu$",
    "\u03bc": r"$\mu$",
    "\u00b7": r"$\cdot$",
    "\u00d7": r"$\times$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\ldots{}",
    "\u2190": r"$\leftarrow$",
    "\u2191": r"$\uparrow$",
    "\u2192": r"$\rightarrow$",
    "\u2193": r"$\downarrow$",
    "\u2212": r"$-$",
    "\u2248": r"$\approx$",
    "\u2260": r"$\neq$",
    "\u2264": r"$\leq$",
    "\u2265": r"$\geq$",
}
WESTERN = re.compile(r"[\u0020-\u007e\u00c0-\u00ff]")
"""What pdfLaTeX's standard fonts have; the signs between are in the table above, or given by their codes."""
MINUS = re.compile(r"(?<![^ (])\{-\}(?=\.?\d)")
"""A hyphen, escaped already, that begins a number."""
ALIGNMENTS: Mapping[Align, str] = {"text": "l", "number": "r", "code": "l"}
PREAMBLE = r"""% \usepackage{booktabs,graphicx}
\providecommand{\sweepchar}[2]{\ifdefined\Umathchardef #1\else [U+#2]\fi}
"""
METHOD_SCORES = (0, 1, 2, 3, 4)
"""Columns of the methods' table that say what they reach; what they take has a table of its own."""


def paper_tables(document: Document, methods: Table | None) -> dict[str, Table]:
    """Tables by the names of their files: the methods' scores, then every table that has a name."""
    tables = [block for section in document.sections for block in section.blocks if isinstance(block, Table)]
    named = {table.name: table for table in tables if table.name}
    if methods is None:
        return named
    return {"methods": _columns(methods, METHOD_SCORES, methods.caption)} | named


def render_table(table: Table, label: str) -> str:
    """One table as a floating environment. Only emphasized rows are bold."""
    columns = "".join(ALIGNMENTS[column.align] for column in table.columns)
    head = " & ".join(escape(column.title) for column in table.columns)
    rows = [_row(table, place) for place in range(len(table.rows))]
    lines = [
        PREAMBLE + r"\begin{table}[tb]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(table.caption)}}}\vskip 4pt" if table.caption else "",
        rf"\label{{tab:{_label(label)}}}",
        rf"\sbox0{{\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        # A table that is wider than the line is made to fit it.
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\end{table}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def escape(text: str) -> str:
    """The text as itself, on one line."""
    return MINUS.sub("$-$", "".join(_character(character) for character in one_line(text)))


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if WESTERN.match(character):
        return character
    return rf"\sweepchar{{{character}}}{{{ord(character):04X}}}"


def _row(table: Table, place: int) -> str:
    cells = []
    for column, cell in zip(table.columns, table.rows[place], strict=True):
        text = escape(text_of(cell))
        text = rf"\texttt{{{text}}}" if column.align == "code" and text else text
        cells.append(rf"\textbf{{{text}}}" if place in table.emphasized and text else text)
    return " & ".join(cells) + r" \\"


def _columns(table: Table, places: tuple[int, ...], caption: str) -> Table:
    rows = [[row[place] for place in places] for row in table.rows]
    return Table([table.columns[place] for place in places], rows, caption, emphasized=table.emphasized)


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9:.-]", "-", text)
