"""Grade answers with a function that the user wrote, named in the study as `file.py:function`.

    def grade(prompt: str, answer: str, target: str) -> float | dict[str, float]: ...

It is the user's own code and runs in the process that scores. What it must not be is a surprise: the file lies in the
study's directory, is copied when the data are prepared, and its hash is part of what a study began with. A number
becomes the metric named after the function. A row that it fails on is left out of its metrics and counted as
`grader_error`; where it fails on every row, something is wrong with the function itself. Torch-free.
"""

import ast
import hashlib
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from evals.errors import TaskError
from evals.outside import is_inside, read_outside
from evals.spec import GraderSpec, OwnRow

METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
PARAMETERS = ("prompt", "answer", "target")
FORM = re.compile(r"(?P<file>[^:]+\.py):(?P<function>[A-Za-z_]\w*)")

Function = Callable[[str, str, str], object]


@dataclass(frozen=True, slots=True)
class FoundGrader:
    """A grader in the study's directory, found but not run."""

    content: bytes
    function: str

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.content).hexdigest()


def find_grader(name: str, root: Path) -> FoundGrader:
    """Find `file.py:function` in a directory without running it. Raises TaskError where it cannot be what is meant."""
    form = FORM.fullmatch(name)
    if form is None:
        raise TaskError(f"{name!r} is no grader; write file.py:function, such as grader.py:grade.")
    file, function = form["file"], form["function"]
    if not is_inside(root, file):
        raise TaskError(f"{file} lies outside the study's directory; copy it there.")
    try:
        content = read_outside(root / file)
        tree = ast.parse(content)
    except OSError as error:
        raise TaskError(f"{file} cannot be read in {root}: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"{file} is not Python: {error}.") from error
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function not in functions:
        raise TaskError(f"{file} defines no function {function!r}; it defines {', '.join(functions) or 'none'}.")
    if not _takes_three(functions[function].args):
        raise TaskError(f"{file}: {function} must take three arguments, {', '.join(PARAMETERS)}.")
    return FoundGrader(content, function)


class UserGrader:
    """The user's function, loaded. What it fails on is remembered for a person to read."""

    def __init__(self, spec: GraderSpec, *, taken: Container[str]) -> None:
        self._name = spec.function
        self._taken = taken
        self._function = _load(spec)
        self.errors: dict[int, str] = {}
        """What went wrong, by the number of the row."""

    def __call__(self, row: OwnRow, answer: str) -> Mapping[str, float]:
        """Grade one answer."""
        try:
            grades = dict(_read(self._function(row.prompt, answer, row.answer), self._name, self._taken))
        except Exception as error:  # noqa: BLE001 - whatever the user's function raises is counted
            self.errors.setdefault(row.row, f"{type(error).__name__}: {error}")
            return {"grader_error": 1.0}
        return {**grades, "grader_error": 0.0}

    def refuse_broken(self, rows: Sequence[OwnRow]) -> None:
        """Raise TaskError where the function fails on the right answer to every row, before anything is asked."""
        works = any(not self(row, row.answer)["grader_error"] for row in rows)
        first = next(iter(self.errors.items()), (0, ""))
        self.errors.clear()
        if rows and not works:
            raise TaskError(
                f"data.grader: {self._name} fails even on the expected answers, such as row {first[0]}'s: "
                f"{first[1].rstrip('.')}."
            )


def _takes_three(arguments: ast.arguments) -> bool:
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    needed = len(names) - len(arguments.defaults)
    without_default = [default for default in arguments.kw_defaults if default is None]
    enough = len(names) >= len(PARAMETERS) or arguments.vararg is not None
    return needed <= len(PARAMETERS) and enough and not without_default


def _load(spec: GraderSpec) -> Function:
    content = spec.file.read_bytes() if spec.file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise TaskError(f"{spec.file}: not the grader that the data were prepared with. Run the study again.")
    module = ModuleType("user_grader")
    module.__file__ = str(spec.file)
    try:
        exec(compile(content, str(spec.file), "exec"), module.__dict__)  # noqa: S102 - the user's own code
    except Exception as error:
        raise TaskError(f"{spec.file.name}: the grader cannot be loaded: {type(error).__name__}: {error}.") from error
    function: Function = module.__dict__[spec.function]
    return function


def _read(given: object, name: str, taken: Container[str]) -> Iterator[tuple[str, float]]:
    for metric, value in given.items() if isinstance(given, Mapping) else [(name, given)]:
        if not isinstance(metric, str) or not METRIC_NAME.fullmatch(metric) or metric in taken:
            raise ValueError(f"the grader names a metric {metric!r}, which is no name or already taken")
        # A number of numpy's or torch's becomes a plain one.
        number = getattr(value, "item", lambda value=value: value)()
        if not isinstance(number, bool | int | float) or not math.isfinite(number):
            raise ValueError(f"the grader gives {number!r} for {metric}; a finite number is needed")
        yield metric, float(number)
