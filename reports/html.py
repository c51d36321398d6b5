"""Write a report as one HTML file that needs nothing else: no network, no fonts, no libraries.

The template escapes every text. Figures alone are markup already; matplotlib escapes the texts in them. The page's one
script is part of this package, and the page's own policy lets a browser run nothing but it, named by its hash. Without
it everything can still be read: it sorts, folds long tables, labels points and switches the theme.
"""

import base64
import hashlib
import math
from functools import cache, partial
from importlib import resources
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from reports.document import Cell, Column, Document, Table, text_of
from reports.sorting import sort_value
from reports.wording import NONE, visible

TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
TO_RUN = "../"
"""The way from a report to its run directory."""
LONG, WIDE = 100, 10
"""Rows above which a table is folded, and columns from which it is printed smaller."""


def render(document: Document, to_run: str = TO_RUN) -> str:
    """The whole report; `to_run` leads from its directory to the one that its links start from."""
    environment = Environment(
        loader=DictLoader({TEMPLATE: _read(TEMPLATE)}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["drawn"] = lambda figure: Markup(figure.svg)  # noqa: S704  (our own drawing, texts escaped)
    environment.filters["href"] = partial(href, to_run=to_run)
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, Cell) else Cell(cell)
    environment.filters["classes"] = _classes
    environment.globals["order"] = _order
    # The style sheet and the script are part of this package.
    return environment.get_template(TEMPLATE).render(
        document=document,
        style=Markup(_read(STYLE)),  # noqa: S704
        script=Markup(_read(SCRIPT)),  # noqa: S704
        script_hash=_hash(_read(SCRIPT)),
        none_sign=NONE,
    )


def href(target: str, to_run: str) -> str:
    """An anchor as it is; a path as a relative address, whatever characters are in it."""
    return target if target.startswith("#") else to_run + quote(target)


def _classes(table: Table) -> str:
    """What the style sheet and the script have to know of a table."""
    count = len(table.rows)
    names = {"sortable": count > 1, "long": count > LONG, "wide": len(table.columns) >= WIDE}
    return " ".join(name for name, holds in names.items() if holds)


def _order(cell: Cell, column: Column) -> str | None:
    """What a cell sorts by, as a script reads numbers; none where its text says the same."""
    value = sort_value(cell) if column.align == "number" or cell.value is not None else None
    if value is None or text_of(cell) == repr(value) or text_of(cell) == f"{value:.0f}":
        return None
    return str(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _read(name: str) -> str:
    return resources.files("reports").joinpath("templates", name).read_text("utf-8")
