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
    "RAY_prestart_worker_first_driver": "0",
    # This machine's memory is not the toys' doing.
    "RAY_memory_monitor_refresh_ms": "0",
    "PYTHONWARNINGS": "ignore",
}
# Loopback serves one machine; a node that is gone is to be noticed soon.
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_threshold": "4",
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
        for space in made.spaces:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(f"netns del {space}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip(f"link del {made.name}")


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
        before: list[str] = []
        where = "127.0.0.1"
        if self.network is not None:
            space, where = self.network.add()
            before = ["ip", "netns", "exec", space]
        if unseen is not None:
            # Until it is made, a node's own directory is empty.
            mount = f'mount -t tmpfs none {unseen} && exec "$@"'
            before += ["unshare", "-m", "--propagation", "private", "sh", "-c", mount, "node"]
        started = self._start([*before], [f"--address={self.address}"], where, cpus, gpus)
        self.addresses[started.pid] = where
        return started

    def _start(self, before: list[str], given: list[str], where: str, cpus: int, gpus: int) -> subprocess.Popen[bytes]:
        log = (self.scratch / f"node-{len(self.running)}.log").open("wb")
        command = [
            *before, sys.executable, "-m", "ray.scripts.scripts", "start", *given, f"--node-ip-address={where}",
            f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={STORE_BYTES}",
            "--disable-usage-stats", "--block",
        ]  # fmt: skip
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, **QUIET, **SOON, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
        if gpus:
            del environment["CUDA_VISIBLE_DEVICES"]
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        self.running.append(started)
        return started

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """End all that is of a node at once, as a machine that loses its power."""
        processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
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
        _until_listening(where, port, nodes)
        yield nodes
    finally:
        for node in list(reversed(nodes.running)):
            if node.poll() is None:
                nodes.kill(node)
        shutil.rmtree(scratch, ignore_errors=True)


def _head(port: int, scratch: Path) -> list[str]:
    return [
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        f"--temp-dir={scratch}",
        "--ray-client-server-port=0",
    ]


def _until_listening(where: str, port: int, nodes: RayNodes) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((where, port), timeout=1):
            if "Ray runtime started" in (nodes.scratch / "node-0.log").read_text(errors="replace"):
                return
        if nodes.running[0].poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError("Ray did not start:\n" + (nodes.scratch / "node-0.log").read_text(errors="replace"))


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)  # noqa: S607
