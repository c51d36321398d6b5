"""A comparison as a person reads it."""

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from sweep.rerun.comparison import Comparison

STYLES = {"same": "", "within noise": "yellow", "differs": "red", "not compared": "dim"}


def comparison_table(comparison: Comparison) -> RenderableType:
    """What was compared, one thing a row; below it why what is not the same is not, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("compared", overflow="fold")
    for name in ("recorded", "now"):
        table.add_column(name, overflow="fold")
    table.add_column("", no_wrap=True)
    part = ""
    for row in comparison.rows:
        cells = (row.name, row.recorded, row.now, row.agreement)
        table.add_row(row.part if row.part != part else "", *map(escape, cells), style=STYLES[row.agreement])
        part = row.part
    reasons = [escape(f"{row.name}: {row.agreement}, {row.why}.") for row in comparison.rows if row.why]
    return Group(table, *reasons, escape(comparison.sentence))
