"""How figures look, and how they become files that are the same byte for byte each time.

A picture is drawn once in the colours of a white page. For the HTML report those colours are replaced by the page's
own variables, so that the picture follows the reader's light or dark theme. No figure tells things apart by colour
alone: markers differ too.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reports import document, marks
from reports.wording import one_line, scientific

INK, QUIET, RULE, PAPER = "#22252a", "#6b7078", "#d9dce1", "#ffffff"
# Okabe and Ito's palette, told apart by readers with any colour vision; the dark theme's shades are in the style sheet.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#4b4f9e")
RANKS = ("#e3a02b", "#d1603d", "#a83266", "#6a2c8a", "#2b2b6b")
MARKERS = ("o", "s", "^", "D", "v", "P")
PAGE_VARIABLES: Mapping[str, str] = {
    INK: "currentColor",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{place})" for place, colour in enumerate(SERIES)},
    **{colour: f"var(--rank-{place})" for place, colour in enumerate(RANKS)},
}
UNITS: Mapping[str, str] = {"loss": "nats per token", "bits_per_byte": "bits per byte"}
"""Units of metrics that are not proportions."""
Dashes = tuple[float, tuple[float, ...]]
DASHED: Dashes = (0, (4, 2))
DOTTED: Dashes = (0, (1, 1.5))
WIDTH_INCHES = 5.6
DOTS_PER_INCH = 200

STYLE: Mapping[str, object] = {
    "svg.hashsalt": "finetune-sweep",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "axes.linewidth": 0.8,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture in its three forms."""

    name: str
    page_svg: str
    """For the HTML report, in the page's colours."""
    file_svg: str
    """For use elsewhere, in the colours of a white page."""
    png: bytes

    def write(self, directory: Path) -> None:
        """Write the two files."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{self.name}.svg").write_text(self.file_svg, "utf-8")
        (directory / f"{self.name}.png").write_bytes(self.png)


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style, leaving matplotlib's settings as they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(
    height_inches: float, *, rows: int = 1, columns: int = 1, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page with a grid of panels, which share their y axis or not. Call within `styled`."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, list(axes.flat)


def marker(place: int) -> str:
    """Marker of the series at this place."""
    return MARKERS[place % len(MARKERS)]


def series_colour(place: int) -> str:
    """Colour of the series at this place."""
    return SERIES[place % len(SERIES)]


def rank_colour(place: int, count: int) -> str:
    """Colour of the rank at this place of so many, from light to dark."""
    return RANKS[round(place * (len(RANKS) - 1) / max(1, count - 1))]


def log_ticks(axes: Axes) -> None:
    """A logarithmic x axis with plain labels: matplotlib's own are formulas, which are off as names may hold `$`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12)


def label_points(artist: Artist, texts: Sequence[str]) -> None:
    """Say what each point of an artist stands for, with units; one text labels a line or a bar as a whole.

    A page shows the text under the pointer or the keyboard's focus; a file's viewer as a tooltip.
    """
    artist.set_gid(marks.gid(texts))


def legend_above(axes: Axes) -> None:
    """A legend in a row above the panel, where it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.2)


def metric_label(metric: str, split: str | None) -> str:
    """A metric with its unit, for an axis."""
    unit = UNITS.get(metric.rpartition("/")[2], "proportion")
    return f"{one_line(metric)} ({unit}{f', {split} split' if split else ''})"


def framed(name: str, figure: Figure, caption: str) -> tuple[document.Figure, Drawing]:
    """Turn a figure into a block of the report and its files. Call within `styled`."""
    drawn = finish(figure, name)
    return document.Figure(name, drawn.page_svg, caption, caption), drawn


def finish(figure: Figure, name: str) -> Drawing:
    """Turn a figure into its files. Call within `styled`."""
    svg, png = StringIO(), BytesIO()
    with warnings.catch_warnings():
        # Names may be in any script; a browser has fonts for those that matplotlib has none for.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        # Laying panels out takes longer than drawing them; the places found for the first file serve the second.
        figure.set_layout_engine("none")
        figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    text = marks.embed(svg.getvalue())
    return Drawing(name, _for_page(text, name), text, png.getvalue())


def _for_page(svg: str, name: str) -> str:
    """The picture as part of a page: its colours, its fonts, and ids that no other picture has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    # The ground of a hatch is an attribute, which a page's variables do not reach.
    svg = re.sub(r'(<rect\b[^>]*?) fill="(#[0-9a-f]{6})"', r'\1 style="fill: \2"', svg)
    # Names of methods come from the user: only style attributes are searched for colours.
    return re.sub(r'style="[^"]*"', lambda found: _in_page_colours(found.group()), svg)


def _in_page_colours(style: str) -> str:
    return re.sub(r"#[0-9a-f]{6}", lambda found: PAGE_VARIABLES.get(found.group(), found.group()), style)


def spread(count: int) -> Sequence[float]:
    """Small offsets around zero, so that so many points at one place can be told apart."""
    return [0.0] if count == 1 else [0.16 * (2 * place / (count - 1) - 1) for place in range(count)]
