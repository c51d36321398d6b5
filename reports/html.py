"""Write a report as one HTML file that needs nothing else: no network, no fonts, no scripts.

The template escapes every text. Figures alone are markup already; matplotlib escapes the texts in them.
"""

from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from reports.document import Document
from reports.wording import NONE, visible

TEMPLATE, STYLE = "report.html.j2", "report.css"


def render(document: Document) -> str:
    """The whole report."""
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
    # The style sheet is part of this package.
    style = Markup(_read(STYLE))  # noqa: S704
    return environment.get_template(TEMPLATE).render(document=document, style=style, none_sign=NONE)


def _read(name: str) -> str:
    return resources.files("reports").joinpath("templates", name).read_text("utf-8")
