"""What runs in a box once its walls stand: a program, a candidate that answers calls, or a test that makes them.

A candidate and the test of it never share a process. The candidate sees the arguments of one call at a time and
neither the test nor what it expects; the test sees plain values. So there is nothing to steal or to patch, and the
word that a test ran to its end comes from a process in which the model's text never ran.
"""

import builtins
import json
import os
import sys
import traceback
import types
from collections.abc import Callable
from importlib import import_module

from evals.code.inside import wire
from evals.code.inside.values import Keep, decode, encode
from evals.code.inside.wire import Wire

_LONGEST_MESSAGE = 500
# An iterator that is cut short ends `all(map(candidate, …))` early, and with it a test.
_NEVER_RAISED = (StopIteration, StopAsyncIteration)


class CandidateError(Exception):
    """The candidate raised something that is not a plain built-in exception."""


def serve(line: Wire) -> None:
    """Be what the keeper says, then leave without a word from anybody's exit handlers."""
    kind, payload = line.read()
    task = json.loads(payload)
    for name in [name for name in sys.modules if name.partition(".")[0] == "evals"]:
        del sys.modules[name]
    try:
        _ROLES[kind](line, task)
    except EOFError:
        pass
    finally:
        leave()


def leave() -> None:
    """End this process at once, with what was printed."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
    os._exit(0)


def _run(line: Wire, task: dict[str, str]) -> None:
    if _load(line, task["source"]) is not None:
        line.write(wire.DONE)


def _answer(line: Wire, task: dict[str, str]) -> None:
    space = _load(line, task["source"])
    if space is None:
        return
    line.write(wire.LOADED)
    kept: Keep = {}
    while True:
        _, payload = line.read()
        line.write(*_called(space, payload, kept))


def _called(space: dict[str, object], payload: bytes, kept: Keep) -> tuple[bytes, bytes]:
    try:
        call = decode(payload, kept)
        name, arguments, keywords = call  # type: ignore[misc]
        function = _find(space, name)  # type: ignore[has-type]
        return wire.VALUE, encode(function(*arguments, **keywords), kept)  # type: ignore[has-type]
    except BaseException as error:  # noqa: BLE001 - whatever the model's program raises is its answer
        return wire.RAISED, _described(error)


def _find(space: dict[str, object], name: str) -> Callable[..., object]:
    if callable(found := space.get(name)):
        return found
    raise NameError(f"name {name!r} is not defined")


def _test(line: Wire, task: dict[str, object]) -> None:
    space: dict[str, object] = {"__name__": "test"}
    space |= {name: import_module(name) for name in task["modules"]}  # type: ignore[attr-defined]
    space |= {name: _stub(line, name) for name in task["names"]}  # type: ignore[attr-defined]
    try:
        for part in ("helpers", "test"):
            exec(compile(str(task[part]), f"<{part}>", "exec", dont_inherit=True), space)  # noqa: S102
    except BaseException as error:  # noqa: BLE001 - anything but reaching the end is a failure
        line.write(wire.RAISED, _described(error))
    else:
        line.write(wire.DONE)


def _stub(line: Wire, name: str) -> Callable[..., object]:
    def candidate(*arguments: object, **keywords: object) -> object:
        line.write(wire.CALL, encode([name, list(arguments), keywords]))
        kind, payload = line.read()
        if kind == wire.VALUE:
            return decode(payload)
        raise _revived(payload)

    return candidate


def _load(line: Wire, source: str) -> dict[str, object] | None:
    """Run a program in a module of its own; its names, or nothing where it raised."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    try:
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException as error:  # noqa: BLE001 - so may SystemExit
        traceback.print_exc(limit=-1)
        line.write(wire.RAISED, _described(error))
        return None
    return module.__dict__


def _described(error: BaseException) -> bytes:
    try:
        message = str(error)[:_LONGEST_MESSAGE]
    except BaseException:  # noqa: BLE001 - its text is the program's as well
        message = ""
    return json.dumps([str(type(error).__name__), str(message)]).encode("ascii")


def _revived(payload: bytes) -> Exception:
    name, message = json.loads(payload)
    known = getattr(builtins, str(name), None)
    if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, _NEVER_RAISED):
        try:
            return known(message)
        except TypeError:
            pass
    return CandidateError(f"{name}: {message}")


_ROLES: dict[bytes, Callable[[Wire, dict[str, str]], None]] = {
    wire.PROGRAM: _run,
    wire.CANDIDATE: _answer,
    wire.TEST: _test,  # type: ignore[dict-item]
}
