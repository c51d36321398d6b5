"""`sweep compare`: the verdict on two scores that lie on disk."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sweep import api
from sweep.options import console


def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="A trial, confirm/METHOD, or lm-eval's output directory.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="The same.")],
    metric: Annotated[list[str] | None, typer.Option(metavar="TASK/METRIC", help="Only this; may be repeated.")] = None,
    margin: Annotated[float, typer.Option(help="Difference of proportions that counts as none.")] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,  # noqa: FBT002
) -> None:
    """Give the verdict on any two scores, ours or the stock tool's, item by item."""
    # pandas and SciPy take a second to import, which `--help` need not wait for.
    from reports import comparison_table

    found = api.compare(one, other, metrics=metric or (), margin=margin)
    if as_json:
        sys.stdout.write(json.dumps(comparison_table.as_json(found), indent=2) + "\n")
    else:
        console.print(comparison_table.rendered(found))
