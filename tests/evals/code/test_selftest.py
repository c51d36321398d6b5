"""The self-test notices what a sandbox lets through."""

import os

import pytest

from evals.code import selftest
from evals.code.box import Box
from evals.code.bubblewrap import Bubblewrap
from evals.code.inside.launch import NAMESPACES
from evals.code.interpreter import Interpreter, find_interpreter
from evals.code.limits import Limits
from evals.code.namespaces import Namespaces
from evals.code.sandbox import Sandbox, run
from evals.code.selftest import Examined, choose_sandbox, examine
from evals.errors import TaskError


class Leaky:
    """Shows devices, and allows more threads than it should."""

    name = "leaky"

    def start(self, limits: Limits) -> Box:
        whole = find_interpreter()
        interpreter = Interpreter(whole.program, (*whole.binds, ("/dev", "/dev")))
        loose = limits.model_copy(update={"threads": 100})
        return Box(interpreter.command(NAMESPACES, os.getpid(), loose), limits)


class Absent:
    name = "absent"

    def start(self, limits: Limits) -> Box:
        del limits
        raise TaskError("nothing to be had.")


class Broken:
    """Starts something that says nothing."""

    name = "broken"

    def start(self, limits: Limits) -> Box:
        return Box(["/bin/sh", "-c", "echo no namespaces >&2"], limits)


def test_a_sandbox_that_leaks_fails_exactly_the_checks_it_should() -> None:
    checks = examine(Leaky())
    if not checks[0].ok:
        pytest.skip(f"no namespaces here: {checks[0].detail}")

    assert {check.name for check in checks if check.needed and not check.ok} == {
        "cannot see devices",
        "threads are bounded",
    }


def test_the_chosen_sandbox_passes_every_needed_check(sandbox: Sandbox) -> None:
    checks = examine(sandbox)

    assert len(checks) > 20
    assert not [check for check in checks if check.needed and not check.ok]


@pytest.mark.parametrize(("made", "says"), [(Absent(), "nothing to be had"), (Broken(), "no namespaces")])
def test_a_sandbox_that_does_not_start_says_why_and_is_tried_no_further(made: Sandbox, says: str) -> None:
    (check,) = examine(made)

    assert not check.ok
    assert says in check.detail


def test_a_machine_without_any_is_told_the_reason_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (Examined(Absent(), tuple(examine(Absent()))), Examined(Broken(), tuple(examine(Broken()))))
    monkeypatch.setattr(selftest, "examine_machine", lambda: both)

    with pytest.raises(
        TaskError, match=r"absent: starts: nothing to be had; broken: .*no namespaces.*sysctl.*bubblewrap"
    ):
        choose_sandbox()


@pytest.mark.parametrize("kind", [Namespaces, Bubblewrap])
def test_every_kind_that_starts_holds(kind: type[Namespaces | Bubblewrap]) -> None:
    checks = examine(kind())
    if not checks[0].ok:
        pytest.skip(f"{kind.name}: {checks[0].detail}")

    assert not [check for check in checks if check.needed and not check.ok]
    assert run(kind(), "print(6 * 7)", limits=Limits(wall_seconds=20)).output == b"42\n"
