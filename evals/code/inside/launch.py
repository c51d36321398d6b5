"""Start of a box: a fresh interpreter raises walls around itself, and only then is told what to run.

    keeper ── starts ──► this, as the user, with an empty environment and three pipes
                          └── forks ──► first process of new namespaces: own root, own network, own processes

No program is started after the walls stand, so none has to be allowed. The outer half waits; when it is killed, the
kernel kills the inner one, and with that, as it is the first of its namespace, everything in it.
"""

import os
import resource
import signal
import sys

from evals.code.inside import kernel, landlock, seccomp, wire
from evals.code.inside.ids import become_user, enter_namespaces
from evals.code.inside.mounts import BOX, build_root
from evals.code.inside.serve import serve
from evals.code.inside.wire import Wire

NAMESPACES = "namespaces"  # make them here
READY_MADE = "ready-made"  # another program made them and started this within
UNPROTECTED = "unprotected"  # limits, and no walls
PACKAGES = "/packages"
_HOST_NAME = b"box"
_OPEN_FILES = 64


class Settings:
    """The command line: what to be, whom to talk to, and the limits."""

    def __init__(self, arguments: list[str]) -> None:
        self.mode = arguments[0]
        numbers = [int(text) for text in arguments[1:9]]
        self.keeper, self.hear, self.tell = numbers[:3]
        self.cpu_seconds, self.memory_bytes, self.file_bytes, self.threads, self.disk_bytes = numbers[3:]
        pairs = arguments[9:]
        self.binds = list(zip(pairs[::2], pairs[1::2], strict=True))


def main(arguments: list[str]) -> None:
    """Raise the walls, say so, and serve."""
    settings = Settings(arguments)
    line = Wire(settings.hear, settings.tell)
    try:
        PREPARE[settings.mode](settings)
        walls = _raise_walls(settings)
    except (OSError, ValueError) as error:
        line.write(wire.BROKEN, str(error.strerror if isinstance(error, OSError) else error).encode())
        os._exit(1)
    line.write(wire.READY, walls.encode())
    serve(line)


def _enter(settings: Settings) -> None:
    """Go on as the first process of new namespaces; the process that came here stays behind as its keeper's handle."""
    kernel.machine()
    _die_with(settings.keeper)
    enter_namespaces()
    _die_with(settings.keeper)
    inner_ready, inner_tells = os.pipe()
    outer_lives, outer_tells = os.pipe()
    inner = os.fork()
    if inner:
        # The keeper's farewell. Unlike a kill of this process it returns only when nobody inside is left.
        signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGKILL))
        os.close(inner_tells)
        _stay_behind(inner, inner_ready, outer_tells, settings)
    os.close(outer_tells)
    os.setsid()
    build_root(settings.binds, settings.disk_bytes)
    kernel.set_host_name(_HOST_NAME)
    become_user()
    # Asked for before the outer half is known to live: had it died in between, nobody would tell.
    kernel.die_with_parent(signal.SIGKILL)
    os.write(inner_tells, b"1")
    if not os.read(outer_lives, 1):
        os._exit(1)


def _stay_behind(inner: int, ready: int, tells: int, settings: Settings) -> None:
    # The keeper knows by the end of these pipes that everybody inside has gone.
    for descriptor in (0, 1, 2, settings.hear, settings.tell):
        os.close(descriptor)
    if os.read(ready, 1):
        os.write(tells, b"1")
    os.waitpid(inner, 0)
    os._exit(0)


def _enter_ready_made(_: Settings) -> None:
    kernel.machine()
    if os.getpid() != 1:
        raise OSError(0, "this process is not the first of a namespace of its own")
    os.chdir(BOX)
    kernel.drop_capabilities()


def _stay_outside(settings: Settings) -> None:
    _die_with(settings.keeper)


def _die_with(keeper: int) -> None:
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)


PREPARE = {NAMESPACES: _enter, READY_MADE: _enter_ready_made, UNPROTECTED: _stay_outside}


def _raise_walls(settings: Settings) -> str:
    """Close what was open, set the limits, and give up all further rights. Says what stands."""
    _close_all_but(settings.hear, settings.tell)
    os.environ.clear()
    _limit(settings)
    if settings.mode == UNPROTECTED:
        return "no walls"
    sys.path[:] = [path for path in sys.path if os.path.exists(path)]
    if os.path.isdir(PACKAGES):
        sys.path.append(PACKAGES)
    kernel.forbid_new_privileges()
    version = landlock.restrict(BOX)
    seccomp.install()
    return f"Landlock {version}" if version else "no Landlock"


def _close_all_but(*kept: int) -> None:
    empty, end = os.pipe()
    os.close(end)
    os.dup2(empty, 0)
    edges = sorted(kept)
    starts = [3, *(edge + 1 for edge in edges)]
    ends = [*edges, os.sysconf("SC_OPEN_MAX")]
    for start, stop in zip(starts, ends, strict=True):
        os.closerange(start, stop)


def _limit(settings: Settings) -> None:
    limits = {
        resource.RLIMIT_AS: settings.memory_bytes,
        resource.RLIMIT_FSIZE: settings.file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if settings.mode != UNPROTECTED:
        # Outside a namespace of one's own it would count everything that the user runs.
        limits[resource.RLIMIT_NPROC] = settings.threads
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (settings.cpu_seconds, settings.cpu_seconds + 1))
