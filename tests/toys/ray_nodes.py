"""Real Ray nodes on this machine, to be joined, killed and joined again.

Each is a `ray start` of its own. In a `Network` each has its own network namespace and address, and may have its own
view of a directory, so that nothing written there is seen by another node.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PATIENCE = 60.0
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    # This machine's memory is not the toys' doing.
    "RAY_memory_monitor_refresh_ms": "0",
    "PYTHONWARNINGS": "ignore",
}
STORE_BYTES = 100 * 2**20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Network:
    """A bridge of this machine, and a network namespace for each node on it."""

    name: str
    number: int
    spaces: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return f"10.{self.number}.0.1"

    def add(self) -> tuple[str, str]:
        """A new namespace, and its address."""
        place = len(self.spaces) + 2
        space, address = f"{self.name}{place}", f"10.{self.number}.0.{place}"
        self.spaces.append(space)
        inner, outer = f"{space}i", f"{space}o"
        for command in (
            f"netns add {space}",
            f"link add {outer} type veth peer name {inner}",
            f"link set {inner} netns {space}",
            f"link set {outer} master {self.name} up",
            f"-n {space} addr add {address}/24 dev {inner}",
            f"-n {space} link set {inner} up",
            f"-n {space} link set lo up",
        ):
            _ip(command)
        return space, address

    def processes(self, address: str) -> list[psutil.Process]:
        """All that run on a node, whoever started them."""
        found = []
        for pid in _ip(f"netns pids {self.name}{address.rpartition('.')[2]}").split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def cut(self, address: str) -> None:
        """Take a node's cable out."""
        _ip(f"link set {self.name}{address.rpartition('.')[2]}o down")


@contextmanager
def network() -> Iterator[Network]:
    """A network of this machine's own. Raises OSError or CalledProcessError where that is not allowed."""
    number = 100 + os.getpid() % 100
    made = Network(f"swp{number}", number)
    try:
        _ip(f"link add {made.name} type bridge")
        _ip(f"addr add {made.head}/24 dev {made.name}")
        _ip(f"link set {made.name} up")
        yield made
    finally:
        # A namespace and what is plugged into it go when the last process has left it, which takes its time.
        plugs = [f"link del {space}o" for space in made.spaces]
        for command in (*plugs, *(f"netns del {space}" for space in made.spaces), f"link del {made.name}"):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(command)


@dataclass
class RayNodes:
    """A head and nodes that join it."""

    address: str
    scratch: Path
    network: Network | None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    addresses: dict[int, str] = field(default_factory=dict)

    def add(self, *, cpus: int = 1, gpus: int = 0, unseen: Path | None = None) -> subprocess.Popen[bytes]:
        """A node that joins; what lies in `unseen` is its own there."""
        given = [f"--address={self.address}"]
        if self.network is None:
            return self._start([], given, "127.0.0.1", cpus, gpus)
        space, where = self.network.add()
        # Nodes of one machine would choose the same names for their sockets.
        mounts = "".join(f"mount -t tmpfs none {path} && " for path in (self.scratch, unseen) if path is not None)
        before = ["ip", "netns", "exec", space, "unshare", "-m", "--propagation", "private"]
        return self._start([*before, "sh", "-c", f'{mounts}exec "$@"', "node"], given, where, cpus, gpus)

    def _start(self, before: list[str], given: list[str], where: str, cpus: int, gpus: int) -> subprocess.Popen[bytes]:
        command = [
            *before, sys.executable, "-m", "ray.scripts.scripts", "start", *given, f"--node-ip-address={where}",
            f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={STORE_BYTES}",
            "--disable-usage-stats", "--block",
        ]  # fmt: skip
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, **QUIET, "PYTHONPATH": paths}
        with (self.scratch / f"node-{len(self.addresses)}.log").open("wb") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.addresses[started.pid] = where
        self.running.append(started)
        self._until_started(started, Path(log.name))
        return started

    @staticmethod
    def _until_started(node: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + PATIENCE
        while node.poll() is None and time.monotonic() < until:
            if "Ray runtime started" in log.read_text(errors="replace"):
                return
            time.sleep(0.1)
        raise AssertionError("Ray did not start:\n" + log.read_text(errors="replace"))

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """End all that is of a node at once, as a machine that loses its power."""
        own = [] if node.poll() is not None else [psutil.Process(node.pid)]
        processes = [*own, *(child for process in own for child in process.children(recursive=True))]
        if self.network is not None and self.addresses[node.pid] != self.network.head:
            processes += self.network.processes(self.addresses[node.pid])
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()
        psutil.wait_procs(processes, timeout=10)
        self.running.remove(node)


@contextmanager
def ray_nodes(*, cpus: int = 1, gpus: int = 0, within: Network | None = None) -> Iterator[RayNodes]:
    """A head that listens on loopback, or in a network of its own. With `cpus=0` nothing runs on it."""
    scratch = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    where, port = ("127.0.0.1" if within is None else within.head), free_port()
    nodes = RayNodes(f"{where}:{port}", scratch, within)
    try:
        nodes._start([], _head(port, scratch), where, cpus, gpus)
        yield nodes
    finally:
        for node in list(reversed(nodes.running)):
            nodes.kill(node)
        shutil.rmtree(scratch, ignore_errors=True)


def _head(port: int, scratch: Path) -> list[str]:
    return [
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        f"--temp-dir={scratch}",
    ]


def _ip(arguments: str) -> str:
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True).stdout  # noqa: S607
