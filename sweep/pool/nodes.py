"""What a cluster is to a pool: machines with devices, seats that can be asked for there, calls that may get lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweep.pool.seat import Setting


class GoneError(Exception):
    """A worker on another node will not answer any more."""


class AwayError(Exception):
    """A worker on another node could not be reached, and may be soon."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster."""

    identifier: str
    address: str
    cpus: int
    gpus: int


class Cluster(Protocol):
    """What connects the machines."""

    def nodes(self) -> Mapping[str, Node]:
        """Nodes that are alive, by their identifiers."""

    def open(self, node: Node, setting: Setting, *, gpus: int) -> object:
        """Ask for a seat on a node with so many GPUs, or a CPU. It is made as soon as the node has them to spare."""

    def call(self, seat: object, method: str, *arguments: object) -> object:
        """Call a method of a seat; the answer comes by and by."""

    def ready(self, calls: Sequence[object], timeout_seconds: float) -> Sequence[object]:
        """Calls that have been answered or have failed, waiting a bounded time for the first."""

    def result(self, call: object) -> Any:  # noqa: ANN401 - what the method gave
        """The answer to a call. Raises GoneError, AwayError, or what the method raised."""

    def end(self, seat: object) -> None:
        """End a seat, by force."""

    def close(self) -> None:
        """Leave the cluster."""
