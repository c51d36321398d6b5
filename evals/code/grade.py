"""Whether a model's program passes a test, decided where the model has no say.

The test runs in one box and the program in another; between them plain values cross (`inside.values`). Which names of
the test are the program's, and which are not, is the rule that everything hangs on:

    what the test or Python itself defines   theirs
    what the data set's prompt defines before the function asked for (HumanEval/32's `poly`)   run beside the test
    any other name                           the program's: a call to it is a call to the other box

So a program cannot replace `poly`, `abs` or `AssertionError` for its test. A name that is only looked into (`math.pi`)
is a module of the standard library.
"""

import ast
import builtins
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from evals.code.box import Box, BoxEnded
from evals.code.inside import wire
from evals.code.limits import Limits
from evals.code.sandbox import Sandbox, describe, read_reason


@dataclass(frozen=True, slots=True)
class Problem:
    """What a program is tested with."""

    test: str
    """Code that calls the program's functions and raises where they are wrong."""
    prompt: str = ""
    """The data set's beginning of the program; trusted, unlike how the program goes on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program passed, and if not, why."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """What a test finds around it."""

    helpers: str
    """The data set's own code, to run beside the test."""
    candidate: tuple[str, ...]
    """Functions of the program."""
    modules: tuple[str, ...]
    """Modules that the test takes for granted."""


def grade(sandbox: Sandbox, program: str, problem: Problem, *, limits: Limits) -> Verdict:
    """Test a program. Raises TaskError where the sandbox cannot be had; a hostile program only fails."""
    try:
        names = find_names(problem)
    except SyntaxError as error:
        return Verdict(passed=False, reason=f"the test is not Python: {error}")
    # Both interpreters start while either is waited for.
    with sandbox.start(limits) as candidate, sandbox.start(limits) as tester:
        candidate.wait_until_ready()
        tester.wait_until_ready()
        deadline = time.monotonic() + limits.wall_seconds
        try:
            candidate.send(wire.CANDIDATE, describe(source=program), deadline)
            kind, payload = candidate.receive(deadline)
            if kind != wire.LOADED:
                return Verdict(passed=False, reason=read_reason(payload))
            task = describe(
                helpers=names.helpers, test=problem.test, names=list(names.candidate), modules=list(names.modules)
            )
            tester.send(wire.TEST, task, deadline)
            return _carry(tester, candidate, deadline)
        except BoxEnded as ended:
            return Verdict(passed=False, reason=str(ended))


def _carry(tester: Box, candidate: Box, deadline: float) -> Verdict:
    """Carry calls to the candidate and answers to the test until the test is over."""
    while True:
        kind, payload = tester.receive(deadline)
        if kind != wire.CALL:
            done = kind == wire.DONE
            return Verdict(passed=done, reason="" if done else read_reason(payload))
        candidate.send(wire.CALL, payload, deadline)
        kind, payload = candidate.receive(deadline)
        if kind not in (wire.VALUE, wire.RAISED):
            return Verdict(passed=False, reason="the program answered a call with something else")
        tester.send(kind, payload, deadline)


def find_names(problem: Problem) -> Names:
    """Sort out whose the names in a test are. Raises SyntaxError for a test that is not Python."""
    tree = ast.parse(problem.test)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    looked_into = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    entry = _entry_point(tree)
    helpers = _helpers(problem.prompt, entry)
    given = _bound(tree) | set(dir(builtins)) | (_bound(ast.parse(helpers)) - {entry})
    free = {node.id for node in used} - given
    called = {node.id for node in used if id(node) not in looked_into} & free
    candidate = called or ({entry} if entry else set())
    return Names(
        helpers=helpers,
        candidate=tuple(sorted(candidate)),
        modules=tuple(sorted((free - called) & sys.stdlib_module_names)),
    )


def _entry_point(tree: ast.Module) -> str:
    """The function under test: what `check` is given, or what the first assertion calls."""
    for node in reversed(tree.body):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="check"), args=[ast.Name(id=name)])):
                return name
    for node in tree.body:
        if isinstance(node, ast.Assert):
            for call in ast.walk(node.test):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                    return call.func.id
    return ""


def _helpers(prompt: str, entry: str) -> str:
    """What stands before the function asked for, in a prompt that is code and asks for it."""
    asked = re.search(rf"^def {re.escape(entry)}\b", prompt, re.MULTILINE) if entry else None
    before = prompt[: asked.start()] if asked else ""
    try:
        ast.parse(before)
    except SyntaxError:
        return ""
    return before


def _bound(tree: ast.Module) -> set[str]:
    """Every name that a piece of code gives a value, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
    return found


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k samples passes, without bias (Chen et al. 2021, arXiv 2107.03374, equation 1)."""
    if not 0 < k <= samples or not 0 <= passed <= samples:
        raise ValueError(f"pass@{k} of {passed} passed among {samples} samples: k must be 1 to the number of samples.")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def mean_pass_at_k(problems: Sequence[tuple[int, int]], k: int) -> float | None:
    """The mean over (samples, passed) of problems; nothing where one has fewer than k samples."""
    if not problems or any(samples < k for samples, _ in problems):
        return None
    return sum(pass_at_k(samples, passed, k) for samples, passed in problems) / len(problems)
