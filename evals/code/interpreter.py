"""What of this interpreter a box needs: its program, its standard library, the shared libraries these use.

A virtual environment is a folder beside an interpreter; boxes start the interpreter itself, so that nothing installed
is in sight. One package is let in: NumPy, which tests of HumanEval+ import and models' programs expect.
"""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import evals
from evals.code.inside.launch import PACKAGES
from evals.code.limits import Limits
from evals.errors import TaskError

ROOT = Path(evals.__file__).parents[1]
ISOLATED = ("-I", "-S", "-B")
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from evals.code.inside.launch import main; "
    "sys.path.remove(sys.argv[1]); main(sys.argv[2:])"
)
_LOOK = """
import ctypes, hashlib, json, os, sys
with open("/proc/self/maps") as file:
    mapped = {line.split(None, 5)[5].strip() for line in file if ".so" in line}
libraries = {os.path.dirname(os.path.realpath(path)) for path in mapped}
modules = {os.path.realpath(path) for path in sys.path if os.path.isdir(path)}
print(json.dumps([os.path.realpath(sys.executable), sys.path, sorted(libraries | modules)]))
"""
_PACKAGES = ("numpy",)
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The interpreter that boxes start."""

    program: str
    """Its executable file."""
    binds: tuple[tuple[str, str], ...]
    """Directories that it reads, as (where on this machine, where in the box)."""

    def command(self, mode: str, keeper: int, limits: Limits) -> list[str]:
        """The command line that starts a box."""
        numbers = (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes, limits.threads, limits.disk_bytes)
        pairs = [path for bind in self.binds for path in bind]
        words = [mode, str(keeper), "{hear}", "{tell}", *map(str, numbers), *pairs]
        return [self.program, *ISOLATED, "-c", PROGRAM, str(ROOT), *words]


@cache
def find_interpreter() -> Interpreter:
    """Ask the interpreter below any virtual environment what it reads. Raises TaskError where it does not answer."""
    base = str(getattr(sys, "_base_executable", "") or sys.executable)
    asked = subprocess.run(  # noqa: S603
        [base, *ISOLATED, "-c", _LOOK], capture_output=True, text=True, env={}, check=False, timeout=_SECONDS
    )
    if asked.returncode:
        raise TaskError(f"{base}: the interpreter does not start without its environment: {asked.stderr[-200:]!r}.")
    program, path, directories = json.loads(asked.stdout)
    shown = {str(Path(entry)): str(Path(entry).resolve()) for entry in path if Path(entry).is_dir()}
    binds = shown | {entry: entry for entry in directories}
    return Interpreter(program, tuple(sorted(_outermost(binds).items())) + tuple(_packages()))


def _outermost(binds: dict[str, str]) -> dict[str, str]:
    """By source, the targets that do not lie within another one."""
    kept: dict[str, str] = {}
    for target in sorted(binds):
        if not any(Path(target).is_relative_to(other) for other in kept):
            kept[target] = binds[target]
    return {source: target for target, source in kept.items()}


def _packages() -> list[tuple[str, str]]:
    found = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        directory = Path(spec.origin).parent
        # Wheels keep the libraries that they bring in a folder beside the package.
        both = (directory, directory.with_name(f"{name}.libs"))
        found += [(str(path.resolve()), f"{PACKAGES}/{path.name}") for path in both if path.is_dir()]
    return found
