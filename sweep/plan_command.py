"""`sweep plan`: what a study will do, need and be able to show, for a person or, as JSON, for a program."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sweep import api
from sweep.options import CacheOption, DataOption, DevicesOption, SetOption, console, default_cache, device_names
from sweep.plan_view import plan_view

StudyOrRun = Annotated[
    Path,
    typer.Argument(metavar="STUDY.yaml|RUN_DIR", help="The study file, or a run to compare with.", show_default=False),
]


def plan(  # noqa: PLR0913, PLR0917 - one option each
    study: StudyOrRun,
    overrides: SetOption = None,
    data: DataOption = None,
    runs: Annotated[Path, typer.Option(help="Directory of earlier runs: they tell how long things take.")] = Path(
        "runs"
    ),
    cache: CacheOption = None,
    devices: DevicesOption = None,
    probe: Annotated[bool, typer.Option("--probe", help="Train and score each method briefly to time it.")] = False,  # noqa: FBT002
    model_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The model's config.json, where the model itself is not here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,  # noqa: FBT002
) -> None:
    """Show trials, tokens, memory, hours and what can be told apart, before anything is spent."""
    where = cache or default_cache()
    if study.is_dir():
        found = api.plan_run(study, cache=where, model_config=model_config)
    else:
        found = api.plan_study(
            api.load_study(study, overrides or (), data_root=data),
            data_root=data or study.parent,
            runs=runs,
            cache=where,
            devices=device_names(devices),
            model_config=model_config,
            probe=probe,
        )
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=2) + "\n")
    else:
        console.print(plan_view(found))
