"""The command `sweep rerun`: exit code 0 where a trial agrees with its record, 1 where it differs beyond noise."""

from pathlib import Path
from typing import Annotated

import typer

from sweep.options import CacheOption, RunArgument, console, default_cache
from sweep.rerun.show import comparison_table
from sweep.store import RunDirectory


def rerun(  # noqa: PLR0913, PLR0917 - one option a choice of the user's
    run_dir: RunArgument,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="Such as search/lora/0003, confirm/lora/seed-1 or baseline.", show_default=False
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it runs. \\[default: RUN_DIR/rerun/TRIAL-N]")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data lie now, if not where they lay.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Run it although config or data have changed.")] = False,  # noqa: FBT002
    repack: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--repack/--no-repack",
            help="Where it differs and rounding may be why, train once more, rows packed otherwise, to measure that.",
        ),
    ] = True,
    trust_remote_code: Annotated[  # noqa: FBT002
        bool, typer.Option("--trust-remote-code", help="Run the model's own code, which you have read.")
    ] = False,
    cache: CacheOption = None,
) -> None:
    """Run one recorded trial again from its config alone, and say whether it gives what was recorded."""
    # Costs the import of numpy, which no other command need wait for.
    from sweep.rerun import again

    with console.status(f"running {trial} again") as shown:
        comparison = again.rerun(
            RunDirectory(run_dir),
            trial,
            to=to,
            data_root=data_root,
            anyway=anyway,
            repack=repack,
            trust_remote_code=trust_remote_code,
            cache=(cache or default_cache()).resolve(),
            on_progress=lambda progress: shown.update(f"{trial}: {progress.phase} {progress.step}"),
        )
    console.print(comparison_table(comparison))
    if comparison.agreement == "differs":
        raise typer.Exit(1)
