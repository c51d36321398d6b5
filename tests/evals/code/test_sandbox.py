"""Running one program: what comes back, and the limits."""

import struct
import time
from pathlib import Path

import pytest

from evals.code.inside.seccomp import build_filter
from evals.code.inside.syscalls import ALLOWED, ALLOWED_BY_ARGUMENT, CLONE
from evals.code.limits import Limits
from evals.code.sandbox import Sandbox, run
from evals.code.unprotected import Unprotected

LIMITS = Limits(wall_seconds=20, cpu_seconds=20, memory_bytes=256 << 20, disk_bytes=8 << 20, file_bytes=1 << 20)
KINDS = ["isolated", "unprotected"]


@pytest.fixture(params=KINDS)
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """The walls change nothing in what an honest program sees."""
    return Unprotected() if request.param == "unprotected" else request.getfixturevalue("sandbox")


def test_what_a_program_prints_comes_back(any_sandbox: Sandbox) -> None:
    outcome = run(any_sandbox, "import sys\nprint('out')\nsys.stderr.write('err')", limits=LIMITS)

    assert outcome.finished
    assert not outcome.reason
    assert sorted(outcome.output.split()) == [b"err", b"out"] or outcome.output == b"errout\n"


def test_an_exception_is_told_in_one_line(any_sandbox: Sandbox) -> None:
    outcome = run(any_sandbox, "raise ValueError('three')", limits=LIMITS)

    assert not outcome.finished
    assert outcome.reason == "ValueError: three"


def test_a_program_that_vanishes_has_not_finished(any_sandbox: Sandbox) -> None:
    outcome = run(any_sandbox, "import os\nos._exit(0)", limits=LIMITS)

    assert (outcome.finished, outcome.reason) == (False, "the program ended")


BOUNDED = [
    ("time", "while True: pass", {"wall_seconds": 0.5}, "out of time"),
    ("processor", "while True: pass", {"cpu_seconds": 1}, "the program ended"),
    ("memory", "bytearray(1 << 30)", {}, "MemoryError"),
    ("file", "open('f', 'wb').write(bytes(2 << 20))", {}, "OSError: [Errno 27] File too large"),
    ("output", "print('x' * (1 << 20))", {"output_bytes": 1000}, "printed more than 1000 bytes"),
]


@pytest.mark.parametrize(("program", "limits", "reason"), [row[1:] for row in BOUNDED], ids=[row[0] for row in BOUNDED])
def test_limits_are_set_from_outside(any_sandbox: Sandbox, program: str, limits: dict[str, float], reason: str) -> None:
    started = time.monotonic()
    outcome = run(any_sandbox, program, limits=LIMITS.model_copy(update=limits))

    assert outcome.reason == reason
    assert len(outcome.output) <= 1 << 20
    assert time.monotonic() - started < 15


def test_what_one_program_writes_the_next_does_not_see(sandbox: Sandbox) -> None:
    run(sandbox, "open('left', 'w').write('x')", limits=LIMITS)

    outcome = run(sandbox, "import os\nprint(os.listdir('.'), os.getcwd(), dict(os.environ))", limits=LIMITS)

    assert outcome.output == b"[] /box {}\n"


def test_many_programs_leave_no_descriptors_behind(sandbox: Sandbox) -> None:
    run(sandbox, "pass", limits=LIMITS)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        run(sandbox, "pass", limits=LIMITS)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_the_filter_allows_what_is_listed_and_nothing_else(machine: str, column: int) -> None:
    """A second reading of the filter: step through it as the kernel would, for every number."""
    program = build_filter(machine)
    allowed = {numbers[column] for numbers in ALLOWED.values()} - {None}
    by_argument = {numbers[column]: (place, values) for numbers, place, values in ALLOWED_BY_ARGUMENT.values()}

    for number in range(600):
        assert (interpret(program, machine, number, {}) == "allow") == (number in allowed)
    for number, (place, values) in by_argument.items():
        for value in range(0x6000):
            assert (interpret(program, machine, number, {place: value}) == "allow") == (value in values)
    thread, process = 0x3D0F00, 0x11
    assert interpret(program, machine, CLONE[column], {0: thread}) == "allow"
    assert interpret(program, machine, CLONE[column], {0: thread | 0x10000000}) == "refuse"
    assert interpret(program, machine, CLONE[column], {0: process}) == "refuse"
    assert interpret(program, machine, 435, {}) == "unknown"
    assert interpret(program, "i386", 1, {}) == "kill"
    assert interpret(program, machine, 0x40000001, {}) == "kill"


def interpret(program: bytes, machine: str, number: int, arguments: dict[int, int]) -> str:
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003}[machine]
    steps = list(struct.iter_unpack("=HBBI", program))
    at, register = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            register = {0: number, 4: arch}.get(value, arguments.get((value - 16) // 8, 0))
        elif code == 0x54:
            register &= value
        elif code == 0x15:
            at += if_true if register == value else if_false
        elif code == 0x35:
            at += if_true if register >= value else if_false
        else:
            return {0x7FFF0000: "allow", 0x80000000: "kill", 0x50001: "refuse", 0x50026: "unknown"}[value]
