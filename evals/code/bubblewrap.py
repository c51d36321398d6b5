"""Boxes whose namespaces bubblewrap makes: where a distribution lets only certain programs make them, it is one.

Landlock, seccomp and limits are raised within, as in boxes of our own making.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from evals.code.box import Box
from evals.code.inside.ids import USER
from evals.code.inside.launch import READY_MADE
from evals.code.inside.mounts import BOX, SITE
from evals.code.interpreter import ROOT, Interpreter, find_interpreter
from evals.code.limits import Limits
from evals.errors import TaskError

_HOME = "/launch"
# Where the interpreter's loader is looked for; links on most systems.
_LOADERS = ("/lib", "/lib64")


class Bubblewrap:
    """A sandbox of bubblewrap's namespaces."""

    name = "bubblewrap"

    def __init__(self, program: Path | None = None) -> None:
        self._program = program

    def start(self, limits: Limits) -> Box:
        """Start a box. Raises TaskError where there is no bubblewrap, or where it would keep root's identity."""
        found = self._program or shutil.which("bwrap")
        if found is None:
            raise TaskError("bwrap is not installed")
        if os.geteuid() == 0:
            # The kernel spares its root from the limit on threads, and bubblewrap can map only the caller.
            raise TaskError("started by root, bubblewrap's programs are root to the kernel")
        interpreter = find_interpreter()
        return Box([str(found), *_options(interpreter, limits), "--", *_command(interpreter, limits)], limits)


def _command(interpreter: Interpreter, limits: Limits) -> list[str]:
    words = interpreter.command(READY_MADE, os.getpid(), limits)
    return [_HOME if word == str(ROOT) else word for word in words]


def _options(interpreter: Interpreter, limits: Limits) -> list[str]:
    user = str(USER)
    options = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1"]
    options += ["--uid", user, "--gid", user, "--hostname", "box", "--cap-drop", "ALL"]
    # Of this package only what raises the walls.
    inside = Path(__file__).parent / "inside"
    options += ["--ro-bind", str(inside), f"{_HOME}/evals/code/inside"]
    options += ["--ro-bind", interpreter.program, interpreter.program]
    for source, target in interpreter.binds:
        options += ["--ro-bind", source, target]
    for path in _site_directories(interpreter):
        options += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for loader in map(Path, _LOADERS):
        if loader.is_symlink():
            options += ["--symlink", str(loader.readlink()), str(loader)]
        directory = str(loader.resolve())
        # All of /usr/lib is more than a loader.
        if Path(directory).is_dir() and directory != "/usr/lib":
            options += ["--ro-bind", directory, directory]
    options += ["--size", str(limits.disk_bytes), "--perms", "0700", "--tmpfs", BOX]
    return [*options, "--remount-ro", "/", "--chdir", BOX]


def _site_directories(interpreter: Interpreter) -> Iterator[str]:
    """Where packages are installed beside the standard library, as seen in the box."""
    for source, target in interpreter.binds:
        for library in [Path(source), *Path(source).glob("python*")]:
            for name in SITE:
                if (library / name).is_dir():
                    yield str(Path(target) / (library / name).relative_to(source))
