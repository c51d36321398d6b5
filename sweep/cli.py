"""The command line: turns arguments into calls of `sweep.api`, and errors into one clear line and an exit code.

Exit codes: 0 done, 1 the study failed, 2 the user's input is wrong, 130 interrupted with everything saved. A bug
prints its traceback. What is read from the environment is named in `sweep.options` or here.
"""

import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep import api, display
from sweep.addresses import masked
from sweep.bundled import bundled_studies, copy_bundled_study
from sweep.compare_command import compare
from sweep.errors import InputError, RunError
from sweep.eval_command import evaluate
from sweep.interrupts import INTERRUPTED, leaving_at_once
from sweep.live import study_display
from sweep.options import (
    AddressOption,
    CacheOption,
    DataOption,
    DevicesOption,
    PoolOption,
    RunArgument,
    SetOption,
    StudyArgument,
    WorkersOption,
    complaints,
    console,
    default_cache,
    device_names,
    printable,
)
from sweep.plan_command import plan
from sweep.rerun.command import rerun
from sweep.secrets import hide_secrets
from sweep.stock_flags import join_lists, with_dashes

if TYPE_CHECKING:
    from sweep.prefetch import Fetched

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if is_asked:
        console.print(f"finetune-sweep {version('finetune-sweep')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[  # noqa: FBT002
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find out whether LoRA, QLoRA or full fine-tuning suits your data, and with which hyperparameters.

    Write a study file, run it, read the report.
    """


@app.command()
def init(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A bundled study.", show_default=False)] = None,
    to: Annotated[Path, typer.Option(help="Directory to copy the study into.")] = Path(),
) -> None:
    """List the bundled studies, or copy one to start from."""
    if name is None:
        console.print(display.bundled_table(bundled_studies()))
        console.print("Copy one with: sweep init NAME")
        return
    copied = copy_bundled_study(name, to)
    for path in copied:
        console.print(f"wrote {path}")
    console.print(f"Next: sweep check {shlex.quote(str(copied[0]))}")


@app.command()
def check(
    study: Annotated[
        Path | None, typer.Argument(metavar="STUDY.yaml", help="The study file.", show_default=False)
    ] = None,
    overrides: SetOption = None,
    data: DataOption = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the study file's JSON schema for editors.")] = False,  # noqa: FBT002
) -> None:
    """Validate everything that can be known before training: every complaint at once."""
    if schema:
        sys.stdout.write(json.dumps(api.study_schema(), indent=2) + "\n")
        return
    if study is None:
        raise InputError("Name a study file, or ask for its --schema.")
    console.print(display.study_summary(api.check_study(study, overrides or (), data_root=data)))


@app.command()
def run(  # noqa: PLR0913, PLR0917 - one option each
    study: StudyArgument,
    overrides: SetOption = None,
    runs: Annotated[Path, typer.Option(help="Directory that run directories are made in.")] = Path("runs"),
    data: DataOption = None,
    cache: CacheOption = None,
    devices: DevicesOption = None,
    pool: PoolOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
) -> None:
    """Run the whole study, or go on where it stopped."""
    again = shlex.join(["sweep", *(masked(argument) for argument in sys.argv[1:])])
    interrupted = f"Interrupted. Everything that ended is saved; go on with: {again}"
    # Until the study itself listens there is nothing to save, and imports that take seconds.
    with leaving_at_once(interrupted):
        spec = api.load_study(study, overrides or (), data_root=data)
        try:
            with study_display(spec, console) as on_event:
                finished = api.run_study(
                    spec,
                    data_root=data or study.parent,
                    runs=runs,
                    cache=cache or default_cache(),
                    devices=device_names(devices),
                    pool=pool,
                    address=address or "auto",
                    workers=workers,
                    on_event=on_event,
                )
        except KeyboardInterrupt:
            complaints.print(interrupted)
            raise
        console.print(display.outcome_table(finished.baseline, finished.finalists))
        where = finished.directory.path
        console.print(f"report: {finished.directory.report / 'index.html'}", soft_wrap=True)
        if spec.tracking.mlflow and spec.tracking.tracking_uri is None:
            console.print(f"MLflow: cd {shlex.quote(str(where.parent))} && mlflow ui", soft_wrap=True)


app.command()(plan)


@app.command()
def status(run_dir: RunArgument) -> None:
    """Show the phase, trials by state, the best so far and the time left."""
    console.print(display.status_table(api.read_run(run_dir).status))


@app.command()
def report(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR…", help="Run directories.", show_default=False)],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where several runs are compiled to. \\[default: report]", show_default=False),
    ] = None,
) -> None:
    """Build the report again from the run directory alone, or one for several runs; needs no GPU."""
    runs = [api.read_run(path).directory for path in run_dirs]
    if len(runs) > 1:
        page = api.combine_reports(runs, to or Path("report"))
    elif to is None:
        page = api.build_report(runs[0])
    else:
        raise InputError("--to is for several runs: the report of a single one stands in its directory.")
    console.print(f"wrote {page}", soft_wrap=True)


app.command()(compare)


app.command(name="eval", context_settings={"token_normalize_func": with_dashes})(evaluate)


app.command()(rerun)


@app.command()
def prefetch(
    study: StudyArgument,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Directory to fetch into.")] = Path("prefetched"),
    overrides: SetOption = None,
    data: DataOption = None,
) -> None:
    """Fetch all that the study needs, for a machine without a network; run again, it checks what is there."""
    # Looking up benchmarks' data costs the import of torch.
    from sweep import prefetch as fetching

    spec = api.load_study(study, overrides or (), data_root=data)

    def tell(part: "Fetched", is_new: bool) -> None:  # noqa: FBT001
        console.print(f"{'fetched' if is_new else 'checked'} {part.wanted.folder}", soft_wrap=True)

    wanted = fetching.plan(spec, data_root=(data or study.parent).resolve())
    if not wanted:
        console.print(f"Nothing to fetch: {spec.name} needs nothing from a network.")
        return
    to.mkdir(parents=True, exist_ok=True)
    fetching.prefetch(wanted, to, on_fetched=tell)
    where = shlex.quote(str(to.resolve()))
    console.print(
        f"Next: sweep run {shlex.quote(str(study))} --set evaluation.scoring.data_root={where}", soft_wrap=True
    )


@app.command()
def doctor() -> None:
    """Show what this machine can do: devices, 4-bit weights, isolation, versions."""
    console.print(display.capability_table(api.machine_capabilities()))


def _usage_complaint(error: typer.TyperException) -> str:
    """What is wrong with the arguments, and whose help says what is allowed."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{end} See {'sweep' if context is None else context.command_path} --help."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    # It warns of an optional kernel on every import, at a level that a person need not see.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(join_lists(given), prog_name="sweep", standalone_mode=False)
    except typer.TyperException as error:
        # A command without arguments has printed its help already.
        if error.format_message():
            complaints.print(printable(_usage_complaint(error)), markup=False)
        return error.exit_code
    except InputError as error:
        complaints.print(printable(hide_secrets(str(error), os.environ)), markup=False)
        return 2
    except RunError as error:
        complaints.print(printable(hide_secrets(str(error), os.environ)), markup=False)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0
