"""A Ray cluster whose only working node is killed and replaced, and whose workers are killed, while a study runs."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import psutil
from ray_nodes import RayNodes, ray_nodes

WORKER, SEAT = "spawn_main", "ray::RaySeat"
"""What stands in the command lines of the process that trains, and of Ray's own above it."""


class KilledCluster:
    """A head on which nothing runs, and one node with one worker: with two, who is first would decide the trials."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._nodes = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """For `--address`; another after everything was lost."""
        return self._nodes.address

    def processes(self, what: str) -> list[psutil.Process]:
        """Processes of the study's on the cluster, WORKER or SEAT."""
        found = []
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                if what in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def lose_node(self) -> None:
        """The working node loses its power, and another one joins."""
        _, working = self._nodes.running
        self._nodes.kill(working)
        self._nodes.add()

    def lose_everything(self) -> None:
        """All nodes lose their power, the head too. The cluster that is started then is another."""
        self._stack.close()
        self._nodes = self._start()

    def has_gone(self, seconds: float) -> bool:
        """Whether nothing of a study runs on the cluster any more, waiting a bounded time for it."""
        until = time.monotonic() + seconds
        while self.processes(WORKER) or self.processes(SEAT):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def _start(self) -> RayNodes:
        nodes = self._stack.enter_context(ray_nodes(cpus=0))
        nodes.add()
        return nodes

    def _all(self) -> Iterator[psutil.Process]:
        for node in self._nodes.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                yield from psutil.Process(node.pid).children(recursive=True)


@contextmanager
def killed_cluster(*, wanted: bool) -> Iterator[KilledCluster | None]:
    """Such a cluster where it is wanted."""
    if not wanted:
        yield None
        return
    with KilledCluster() as cluster:
        yield cluster
