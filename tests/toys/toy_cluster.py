"""A cluster without a network: seats of this very process, whose nodes come, go and drop calls as a test wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweep.pool.nodes import AwayError, GoneError, Node
from sweep.pool.seat import Hello, Seat, Setting
from sweep.pool.shelf import Shelf
from sweep.shape import Device


@dataclass
class ToyCluster:
    """Nodes by their names; a node is asked for its memory by name."""

    run: Path
    there: dict[str, Node] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    """What a node has another version of."""
    drops: list[str] = field(default_factory=list)
    """What becomes of the next calls of `turn`: `before` it is heard, `after` it was done, or nothing."""
    seats: list[tuple[str, Seat]] = field(default_factory=list)
    has_left: bool = False

    def add(self, name: str, *, cpus: int = 1, gpus: int = 0, memory_bytes: int = 10**9) -> None:
        self.there[name] = Node(name, name, cpus, gpus)
        self.memory[name] = memory_bytes

    def nodes(self) -> Mapping[str, Node]:
        return dict(self.there)

    def open(self, node: Node, setting: Setting, *, gpus: int) -> object:  # noqa: ARG002 - as a cluster has it
        self.seats.append((node.identifier, Seat(setting, Shelf(self.run, []))))
        return self.seats[-1]

    def call(self, seat: Any, method: str, *arguments: object) -> object:
        name, worker = seat
        if name not in self.there:
            return [GoneError(f"{name} has no power")]
        drop = self.drops.pop(0) if method == "turn" and self.drops else ""
        if drop == "before":
            return [AwayError("a cable is loose")]
        answer = getattr(worker, method)(*arguments)
        if drop == "after":
            return [AwayError("a cable is loose")]
        return [self._as_seen(name, answer) if isinstance(answer, Hello) else answer]

    def ready(self, calls: Sequence[object], timeout_seconds: float) -> Sequence[object]:  # noqa: ARG002 - all are done
        return list(calls)

    def result(self, call: Any) -> Any:
        if isinstance(call[0], Exception):
            raise call[0]
        return call[0]

    def end(self, seat: Any) -> None:
        seat[1].close()

    def close(self) -> None:
        self.has_left = True

    def _as_seen(self, name: str, hello: Hello) -> Hello:
        device = Device(f"device of {name}", "cuda", self.memory[name], self.memory[name])
        return replace(hello, device=device, versions={**hello.versions, **self.versions.get(name, {})})
