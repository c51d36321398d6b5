"""Which sandbox this machine can have, proved by trying to break out of it.

The checks are run when generated programs are first asked for, and `sweep doctor` prints them. A sandbox that fails
one is not used: there is no second best, only the next kind, or a refusal that says what to do.
"""

import contextlib
import os
import secrets
import socket
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from evals.code import probes
from evals.code.bubblewrap import Bubblewrap
from evals.code.interpreter import find_interpreter
from evals.code.limits import Limits
from evals.code.namespaces import Namespaces
from evals.code.sandbox import Outcome, Sandbox, run
from evals.errors import TaskError

REMEDY = (
    "Allow user namespaces to programs without privileges (on Ubuntu 23.10 and later `sysctl -w "
    "kernel.apparmor_restrict_unprivileged_userns=0`, on older Debian `kernel.unprivileged_userns_clone=1`, in Docker "
    "`--security-opt seccomp=unconfined`), or install bubblewrap"
)
_MIB = 1 << 20
_LIMITS = Limits(wall_seconds=20, memory_bytes=256 * _MIB, disk_bytes=24 * _MIB, output_bytes=_MIB)
_BRIEF = _LIMITS.model_copy(update={"wall_seconds": 0.5})
# Enough of them to notice that home is in sight.
_HOME_ENTRIES = 200


class NamedSandbox(Sandbox, Protocol):
    """A sandbox that people can be told of."""

    name: str


@dataclass(frozen=True, slots=True)
class Check:
    """One property of a sandbox on this machine."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    """Whether a sandbox without it is refused."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A kind of sandbox and how it did."""

    sandbox: NamedSandbox
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every needed check passed."""
        return all(check.ok for check in self.checks if check.needed)


def choose_sandbox() -> Sandbox:
    """The first kind of sandbox that holds here. Raises TaskError with the reason and the remedy where none does."""
    examined = examine_machine()
    for one in examined:
        if one.holds:
            return one.sandbox
    reasons = "; ".join(
        f"{one.sandbox.name}: {next(f'{check.name}: {check.detail}' for check in one.checks if not check.ok)}"
        for one in examined
    )
    raise TaskError(f"programs that a model wrote cannot be isolated on this machine ({reasons}). {REMEDY}")


@cache
def examine_machine() -> tuple[Examined, ...]:
    """Examine kinds of sandbox, bubblewrap first where it is installed, until one holds. Takes a second or two."""
    examined: list[Examined] = []
    kinds: tuple[NamedSandbox, ...] = (Bubblewrap(), Namespaces())
    for sandbox in kinds:
        examined.append(Examined(sandbox, tuple(examine(sandbox))))
        if examined[-1].holds:
            break
    return tuple(examined)


def examine(sandbox: Sandbox) -> list[Check]:
    """Try a sandbox."""
    try:
        with sandbox.start(_LIMITS) as box:
            box.wait_until_ready()
            walls = box.walls
    except TaskError as error:
        return [Check("starts", ok=False, detail=str(error).rstrip("."))]
    checks = [Check("starts", ok=True, detail=""), _landlock(walls)]
    with _bait() as bait:
        checks += _attempts(run(sandbox, probes.build_attempts(bait), limits=_LIMITS))
    for name, program, limits, bounded in _LIMIT_PROBES:
        outcome = run(sandbox, program, limits=limits)
        # What a program printed that was kept within its bounds says nothing to a person.
        is_bounded = bounded(outcome)
        printed = outcome.reason or outcome.output[:80].decode(errors="replace").strip()
        checks.append(Check(name, ok=is_bounded, detail="" if is_bounded else printed))
    return checks


def _landlock(walls: str) -> Check:
    has = walls.startswith("Landlock")
    return Check("Landlock", ok=has, detail=walls if has else "not offered by this kernel", needed=False)


def _attempts(outcome: Outcome) -> Iterator[Check]:
    """One check for each attempt; an attempt that was never made has not been refused."""
    told = dict(line.split("=", 1) for line in outcome.output.decode(errors="replace").splitlines() if "=" in line)
    for name in probes.ATTEMPTS:
        found = told.get(name, outcome.reason or "not tried")
        yield Check(f"cannot {name}", ok=found == "refused", detail=found)


def _printed(outcome: Outcome) -> int:
    text = outcome.output.decode(errors="replace").strip()
    return int(text) if text.isdecimal() else -1


_LIMIT_PROBES: tuple[tuple[str, str, Limits, Callable[[Outcome], bool]], ...] = (
    ("ordinary programs work", probes.WORKS, _LIMITS, lambda outcome: outcome.finished and _printed(outcome) == 32),  # noqa: PLR2004
    ("memory is bounded", probes.MEMORY, _LIMITS, lambda outcome: outcome.reason.startswith("MemoryError")),
    ("disk is bounded", probes.DISK, _LIMITS, lambda outcome: 0 < _printed(outcome) <= _LIMITS.disk_bytes),
    ("threads are bounded", probes.THREADS, _LIMITS, lambda outcome: 0 < _printed(outcome) <= _LIMITS.threads),
    ("time is bounded", probes.FOREVER, _BRIEF, lambda outcome: outcome.reason == "out of time"),
    ("output is bounded", probes.FLOOD, _LIMITS, lambda outcome: outcome.reason.startswith("printed more")),
)


@contextlib.contextmanager
def _bait() -> Iterator[Mapping[str, object]]:
    """Things outside that could be reached if walls were missing."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bait-")))
        (directory / "file").write_text("bait", encoding="utf-8")
        descriptor = os.open(directory / "file", os.O_RDWR)
        stack.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - takes no keywords
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        path, abstract = str(directory / "socket"), f"bait-{secrets.token_hex(8)}"
        for address in (path, "\0" + abstract):
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(address)
            listening.listen()
        yield {
            "home": _visible(Path.home()),
            "packages": [str(path) for path in _installed()],
            "file": str(directory / "file"),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": path,
            "abstract": abstract,
            "pid": os.getpid(),
        }


def _visible(home: Path) -> list[str]:
    """What lies in home, but for the way to an interpreter that lives there."""
    targets = [Path(target) for _, target in find_interpreter().binds]
    try:
        entries = sorted(home.iterdir())[:_HOME_ENTRIES]
    except OSError:
        return []
    return [str(entry) for entry in entries if not any(target.is_relative_to(entry) for target in targets)]


def _installed() -> list[Path]:
    """What is installed beside this package."""
    beside = Path(sysconfig.get_path("purelib"))
    return [path for path in sorted(beside.iterdir()) if not path.name.startswith("numpy")][:_HOME_ENTRIES]
