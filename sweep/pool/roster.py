"""Who works for a study on a cluster: nodes come and go while it runs.

One that joins gets its workers, one that is lost loses them. Nobody is used whose versions or input files are not the
driver's, which is said once for each node. All workers of a study are on GPUs, or all on CPUs.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from sweep.board import remove_board
from sweep.errors import ClusterLostError, MachineError
from sweep.files import write_text
from sweep.pool.agreement import differences, versions
from sweep.pool.member import Member
from sweep.pool.nodes import AwayError, Cluster, GoneError, Node
from sweep.pool.seat import Hello, Setting
from sweep.protocol import Runner

OPENINGS = 3
"""Times that a node's workers are started which are lost while they start."""
BRING_SECONDS = 60.0
"""What workers that share no file system are given beyond the others to bring their training states when all ends."""


class Roster:
    """The workers of one study. The cluster is joined when they are first looked for."""

    def __init__(  # noqa: PLR0913
        self,
        join: Callable[[], Cluster],
        build_runner: Callable[[], Runner],
        *,
        run: Path,
        workers: int = 1,
        gpus_per_worker: int = 1,
        silence_seconds: float | None = None,
        say: Callable[[str], None] = lambda _: None,
        grace_seconds: float = 60.0,
        stop_seconds: float = 8.0,
        look_seconds: float = 5.0,
        patience_seconds: float = 600.0,
    ) -> None:
        """`workers` are so many on each node where no node has a GPU; elsewhere each has `gpus_per_worker`.

        A worker is ended after `silence_seconds` without a word; `say` tells a person of nodes.

        Nodes are looked for every `look_seconds`; the study ends after `patience_seconds` without any.
        """
        self.run = run
        self.say = say
        self.members: list[Member] = []
        self._join = join
        self._build_runner = build_runner
        self._workers = workers
        self._gpus_per_worker, self._silence_seconds = gpus_per_worker, silence_seconds
        self._grace_seconds, self._stop_seconds = grace_seconds, stop_seconds
        self._look_seconds, self._patience_seconds = look_seconds, patience_seconds
        self._cluster: Cluster | None = None
        self._on_gpu = False
        self._refused: dict[str, str] = {}
        self._failed: dict[str, int] = {}
        self._numbers = 0
        self._looked = 0.0
        self._last_ready = time.monotonic()
        self._marker = f".shared-{uuid.uuid4().hex}"
        self._versions = versions()

    @property
    def cluster(self) -> Cluster:
        """The cluster, joined."""
        if self._cluster is None:
            write_text(self.run / self._marker, self._marker)
            self._cluster = self._join()
            self._last_ready = time.monotonic()
            self._on_gpu = any(node.gpus for node in self._cluster.nodes().values())
        return self._cluster

    def look(self) -> None:
        """Now and then: start workers on nodes that have room for them, and strike off idle ones whose node is gone.

        Those that are at work are found to be gone by the calls to them.
        """
        if self._looked and time.monotonic() - self._looked < self._look_seconds:
            return
        nodes = self.cluster.nodes()
        self._looked = time.monotonic()
        for member in [one for one in self.members if one.node.identifier not in nodes and not one.jobs]:
            self._remove(member)
            self.say(f"Worker {member.number} is gone with its node, {member.node.address}.")
        for node in nodes.values():
            self._open(node)

    def call(self, member: Member, method: str, *arguments: object) -> None:
        """Call a worker that is not being called."""
        member.call = self.cluster.call(member.seat, method, *arguments)
        member.sent = member.ordered

    def greet(self, member: Member, hello: Hello) -> None:
        """A worker has started: use it, or not."""
        if others := differences(self._versions, hello.versions):
            self.refuse(member, f"it has {others}.")
            return
        member.hello = hello
        member.since = self._last_ready = time.monotonic()
        how = "" if hello.is_shared else "; it does not share the run directory, so files are sent"
        self.say(f"Worker {member.number} is on {member.node.address}: {hello.device.name}{how}.")

    def refuse(self, member: Member, why: str) -> None:
        """Use nothing of a node that is not as it should be, and say so once."""
        node = member.node
        self._remove(member)
        if node.identifier not in self._refused:
            self._refused[node.identifier] = f"Node {node.address} cannot be used: {why}"
            self.say(self._refused[node.identifier])

    def lose(self, member: Member, why: str) -> str:
        """A worker is gone; gives a sentence about it."""
        self._remove(member)
        text = f"The worker on {member.node.address} was lost: {why}."
        if member.hello is None:
            failed = self._failed[member.node.identifier] = self._failed.get(member.node.identifier, 0) + 1
            if failed >= OPENINGS or "ModuleNotFoundError" in why:
                self.refuse(member, f"its worker does not start: {why}.")
        else:
            self.say(text)
        return text

    def give_up_without_workers(self) -> None:
        """Raise ClusterLostError where there was no worker for too long, MachineError where no node can be used."""
        if any(member.hello is not None for member in self.members):
            self._last_ready = time.monotonic()
            return
        if self._refused and not self.members:
            raise MachineError(" ".join(self._refused.values()))
        if time.monotonic() - self._last_ready > self._patience_seconds:
            raise ClusterLostError(
                f"no worker has been left for {self._patience_seconds:.0f} s. Everything that ended is saved; bring "
                "nodes back and run the study again."
            )

    def close(self) -> None:
        """End all workers: trainings that go on save their states, which are brought here where that is needed."""
        if self._cluster is None:
            return
        cluster, members, self._cluster, self.members = self._cluster, self.members, None, []
        self._looked = 0.0
        greeted = [member for member in members if member.hello is not None]
        seconds = self._stop_seconds + (1.0 if all(member.is_shared for member in greeted) else BRING_SECONDS)
        try:
            self._settle(cluster, [cluster.call(member.seat, "close") for member in greeted], seconds)
            apart = {member.node.identifier: member for member in greeted if not member.is_shared or member.fetched}
            self._settle(
                cluster, [cluster.call(one.seat, "tidy", one.fetched) for one in apart.values()], self._stop_seconds
            )
        finally:
            for member in members:
                cluster.end(member.seat)
            cluster.close()
            (self.run / self._marker).unlink(missing_ok=True)
            remove_board(self.run)

    def _settle(self, cluster: Cluster, calls: Sequence[object], seconds: float) -> None:
        """Wait a bounded time for calls whose answers say nothing."""
        until = time.monotonic() + seconds
        left = list(calls)
        while left and time.monotonic() < until:
            done = cluster.ready(left, until - time.monotonic())
            for call in done:
                try:
                    cluster.result(call)
                except (GoneError, AwayError):
                    continue
                except Exception as error:  # noqa: BLE001 - the other workers have to be ended all the same
                    self.say(f"A worker could not end as it should: {error}")
            left = [call for call in left if call not in done]

    def _open(self, node: Node) -> None:
        wanted = node.gpus // self._gpus_per_worker if self._on_gpu else min(self._workers, node.cpus)
        have = sum(member.node.identifier == node.identifier for member in self.members)
        for _ in range(wanted - have if node.identifier not in self._refused else 0):
            seat = self.cluster.open(node, self._setting(node, wanted), gpus=self._gpus_per_worker * self._on_gpu)
            member = Member(self._numbers, node, seat)
            self._numbers += 1
            self.members.append(member)
            self.call(member, "hello")

    def _setting(self, node: Node, workers: int) -> Setting:
        return Setting(
            build_runner=self._build_runner,
            run=self.run,
            number=self._numbers,
            device=None if self._on_gpu else "",
            threads=max(1, node.cpus // workers),
            marker=self._marker,
            working_directory=Path.cwd(),
            grace_seconds=self._grace_seconds,
            stop_seconds=self._stop_seconds,
            silence_seconds=self._silence_seconds,
        )

    def _remove(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
            self.cluster.end(member.seat)
