"""Arguments and options that several commands have, some read from the environment, and where they print."""

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.errors import MarkupError
from rich.segment import Segment
from rich.text import Text

from sweep.errors import OutputError

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})
"""Controls, formats such as marks that reorder text, and halves of characters."""


def printable(text: str) -> str:
    """The text without what would make a terminal do anything but show it: files and models may hold such."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in UNPRINTABLE
        else ascii(character)[1:-1]
        for character in text
    )


class PlainConsole(Console):
    """A terminal on which no text is more than text: what is not markup by mistake alone is shown as it is."""

    def print(self, *objects: Any, **settings: Any) -> None:  # noqa: ANN401 - passed on
        """Print. Raises OutputError where that cannot be; there is nobody to tell where complaints cannot."""
        try:
            super().print(*objects, **settings)
        except OSError as error:
            self.fall_silent()
            if not self.stderr:
                raise OutputError(f"standard output: cannot be written ({error.strerror}).") from error

    def fall_silent(self) -> None:
        """Print nothing more, nor what was not written yet."""
        self.quiet = True
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no path
            os.dup2(nowhere.fileno(), self.file.fileno())

    def render_str(self, text: str, **settings: Any) -> Text:  # noqa: ANN401 - passed on
        """A text as rich shows it, without controls."""
        shown = printable(text)
        try:
            return super().render_str(shown, **settings)
        except MarkupError:
            return super().render_str(shown, **{**settings, "markup": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What rich shows, whatever it is made of, without controls but rich's own."""
        for segment in super().render(renderable, options):
            is_shown = segment.control is not None or segment.text.isprintable()
            yield segment if is_shown else Segment(printable(segment.text), segment.style)


console = PlainConsole(emoji=False)
complaints = PlainConsole(stderr=True, soft_wrap=True, highlight=False, emoji=False)

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.", show_default=False)]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Override any key of the study file; may be repeated."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Directory that the study's data files are in; none outside it is read. \\[default: the study's own]",
        show_default=False,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Where converted models are kept. \\[default: finetune-sweep in the user's cache directory]",
        envvar="SWEEP_CACHE",
        show_envvar=True,
        show_default=False,
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        help="GPUs to use, separated by commas, one worker each. \\[default: all]",
        envvar="CUDA_VISIBLE_DEVICES",
        show_envvar=True,
        show_default=False,
    ),
]


PoolName = Literal["local", "ray"]
PoolOption = Annotated[
    PoolName, typer.Option("--pool", help="Where trials run: on this machine, or on the nodes of a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Ray cluster. \\[default: the one that this machine is a node of]",
        envvar="RAY_ADDRESS",
        show_envvar=True,
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Workers on the CPU where there is no GPU; on each node. \\[default: 1]"),
]


def default_cache() -> Path:
    """Directory of converted models, by the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "finetune-sweep"


def device_names(devices: str | None) -> list[str] | None:
    """Names of GPUs from one option; none where it is not given."""
    return None if devices is None else [name.strip() for name in devices.split(",") if name.strip()]
