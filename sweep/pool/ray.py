"""Ray, and nothing else: which nodes there are, a seat on one of them, and calls that may get lost.

Nothing is started here that listens: the cluster is the user's own, and this process joins it as a driver. Ray's own
log lines are not repeated, and the command line, which may hold a password, is not handed to the cluster.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from sweep.errors import MachineError
from sweep.interrupts import NO_END
from sweep.pool.nodes import AwayError, GoneError, Node
from sweep.pool.roll import Roll
from sweep.pool.seat import Hello, Seat, Setting
from sweep.pool.shelf import Entry, Shelf

KNOCK_SECONDS = 10.0
CUT_OFF_SECONDS = 8.0
"""Ray takes a node for dead after 15 s, unless it is told otherwise."""
COMMAND_LINE = "sweep run"
"""What the cluster is told that this driver is."""


class RayCluster:
    """A Ray cluster that this process is a driver of."""

    def __init__(self, address: str, *, run: Path, inputs: Sequence[Path]) -> None:
        """Join the cluster at `address`, `auto` for the one that this machine is a node of. Raises MachineError."""
        self._ray = _import_ray()
        self._joined = not self._ray.is_initialized()
        if self._joined:
            _join(self._ray, address)
        self._roll = Roll(self._alive)
        here = self._ray.get_runtime_context().get_node_id()
        self._shelf = self._remote(Shelf, here, num_cpus=0).remote(run, tuple(inputs))

    def nodes(self) -> Mapping[str, Node]:
        """Nodes that are alive, by their identifiers. Raises ClusterLostError where the head is gone."""
        return self._roll.nodes()

    def open(self, node: Node, setting: Setting, *, gpus: int) -> object:
        """Ask for a seat on a node with so many GPUs, or a CPU. It is made as soon as the node has them to spare."""
        wanted = {"num_gpus": gpus, "num_cpus": 0} if gpus else {"num_cpus": 1}
        return self._remote(RaySeat, node.identifier, **wanted).remote(setting, RemoteFiles(self._shelf))

    def call(self, seat: object, method: str, *arguments: object) -> object:
        """Call a method of a seat; the answer comes by and by."""
        return getattr(seat, method).remote(*arguments)

    def ready(self, calls: Sequence[object], timeout_seconds: float) -> Sequence[object]:
        """Calls that have been answered or have failed, waiting a bounded time for the first."""
        if self._roll.is_lost():
            return list(calls)
        done, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout_seconds)
        if done and len(calls) > 1:
            done, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return list(done)

    def result(self, call: object) -> Any:  # noqa: ANN401 - what the method gave
        """The answer to a call. Raises GoneError, AwayError, or what the method raised."""
        errors = self._ray.exceptions
        if self._roll.is_lost():
            # Workers that cannot reach the head end by themselves.
            raise GoneError("the head of the cluster does not answer")
        try:
            return self._ray.get(call)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.ActorUnavailableError as error:
            raise AwayError(_last_line(error)) from None
        except errors.RayError as error:
            raise GoneError(_last_line(error)) from None

    def end(self, seat: object) -> None:
        """End a seat, by force."""
        if self._roll.is_lost():
            return
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(seat)

    def close(self) -> None:
        """Leave the cluster."""
        self._roll.end()
        if self._roll.is_lost():
            # Ray's part of it waits for the head, until Ray ends this process with words of its own.
            NO_END.set()
            return
        self.end(self._shelf)
        if self._joined:
            self._ray.shutdown()

    def _alive(self) -> Mapping[str, Node]:
        return {
            str(node["NodeID"]): Node(
                str(node["NodeID"]),
                str(node["NodeManagerAddress"]),
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("GPU", 0)),
            )
            for node in self._ray.nodes()
            if node["Alive"]
        }

    def _remote(self, kind: type, node: str, **wanted: float) -> Any:  # noqa: ANN401 - Ray's own
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        place = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        return self._ray.remote(max_restarts=0, max_task_retries=0, scheduling_strategy=place, **wanted)(kind)


class RaySeat(Seat):
    """A seat in a process that Ray started."""

    def hello(self) -> Hello:
        """What this node is."""
        # A spawned process first runs its parent's main file again, which here would be Ray's own.
        vars(sys.modules["__main__"]).pop("__file__", None)
        threading.Thread(target=_end_when_cut_off, daemon=True).start()
        return super().hello()


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is HOST:PORT, or auto")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _end_when_cut_off() -> None:
    """A thread: end this process, and its worker with it, where the cluster's head cannot be reached any more.

    The cluster takes a node that is cut off for dead and its trials are begun elsewhere, perhaps in the same directory.
    """
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    reached = time.monotonic()
    while time.monotonic() - reached < CUT_OFF_SECONDS:
        with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
            reached = time.monotonic()
        time.sleep(2.0)
    os._exit(1)


@dataclass(frozen=True)
class RemoteFiles:
    """The shelf, as a seat on another node reaches it. Pieces travel through Ray's object store."""

    shelf: Any

    def inputs(self) -> Sequence[Entry]:
        """The study's input files."""
        found: Sequence[Entry] = self._ask(self.shelf.inputs.remote())
        return found

    def under(self, directory: Path) -> Sequence[Entry]:
        """Files of a directory within the run directory."""
        found: Sequence[Entry] = self._ask(self.shelf.under.remote(directory))
        return found

    def read(self, path: Path, offset: int) -> bytes:
        """A piece of a file."""
        piece: bytes = self._ask(self.shelf.read.remote(path, offset))
        return piece

    def write(self, path: Path, token: str, offset: int, piece: bytes) -> None:
        """Put a piece of a file by."""
        self._ask(self.shelf.write.remote(path, token, offset, piece))

    def finish(self, path: Path, token: str) -> None:
        """Give a file its name."""
        self._ask(self.shelf.finish.remote(path, token))

    def replace(self, directory: Path, keep: Sequence[Path]) -> None:
        """Remove what a trial's directory had before."""
        self._ask(self.shelf.replace.remote(directory, keep))

    @staticmethod
    def _ask(call: object) -> Any:  # noqa: ANN401 - what the method gave
        import ray

        try:
            return ray.get(call)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise MachineError(f"the driver's files cannot be had here: {_last_line(error)}.") from None


def _import_ray() -> Any:  # noqa: ANN401 - an untyped library
    kept = sys.excepthook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
        # Ray's own tells the head of every error that nobody caught, and waits for it.
        sys.excepthook = kept
    except ImportError as error:
        raise MachineError("--pool ray needs Ray. Install it with: pip install 'finetune-sweep[ray]'.") from error
    return ray


def _join(ray: Any, address: str) -> None:  # noqa: ANN401 - an untyped library
    if address.startswith("ray://"):
        raise MachineError(
            f"--address {address}: a client's address. Start `sweep run` on a node of the cluster, the head for one, "
            "with --address auto."
        )
    try:
        if address != "auto":
            # Ray itself would try for minutes.
            _knock(address)
        with _own_signals(), _without_command_line(ray), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        # A thread of Ray's prints what its nodes say of themselves, over the view of the study.
        ray._private.worker.print_to_stdstream = _say_nothing  # noqa: SLF001
    except (OSError, ValueError) as error:
        raise MachineError(
            f"--address {address}: no Ray cluster answers there ({_first_line(error)}). Start one with `ray start "
            "--head`, and `sweep run` on one of its nodes."
        ) from error
    except RuntimeError as error:
        raise MachineError(f"--address {address}: {' '.join(str(error).split())}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of this program, which save what is running: Ray puts one of its own that only exits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def _without_command_line(ray: Any) -> Iterator[None]:  # noqa: ANN401 - an untyped library
    """Ray keeps a driver's whole command line where all the cluster can read it."""
    kept = ray._private.utils.get_entrypoint_name  # noqa: SLF001 - there is no other way to it
    ray._private.utils.get_entrypoint_name = lambda: COMMAND_LINE  # noqa: SLF001
    try:
        yield
    finally:
        ray._private.utils.get_entrypoint_name = kept  # noqa: SLF001


def _say_nothing(*_: object, **__: object) -> None:
    """Stands for what prints."""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _last_line(error: BaseException) -> str:
    """The reason, below Ray's account of how it came by it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
