"""One worker of a cluster as the driver sees it, and what waits for one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.board import WorkerLine
from sweep.pool.nodes import Node
from sweep.pool.seat import Hello, Order, Turn
from sweep.protocol import (
    LossTaken,
    Message,
    PrepareData,
    Progressed,
    Report,
    Request,
    RungReached,
    RunTogether,
    RunTrial,
    SeatsFree,
)


@dataclass(frozen=True, slots=True)
class Held:
    """A request, and the jobs that it is."""

    jobs: tuple[int, ...]
    request: Request
    deadline_seconds: float | None

    @property
    def trials(self) -> Sequence[RunTrial]:
        """The trials that it asks for."""
        if isinstance(self.request, RunTogether):
            return self.request.trials
        return (self.request,) if isinstance(self.request, RunTrial) else ()

    @property
    def memory_bytes(self) -> float:
        """What its largest trial is expected to need; of those run together, fewer are seated where memory runs out."""
        return max((trial.memory_bytes or 0.0 for trial in self.trials), default=0.0)

    def choose(self, members: Sequence["Member"]) -> "Member | None":
        """The idle worker that it is given to; none where it waits for one that has the memory.

        The smallest device that is large enough, so that large ones stay free; the largest for trials run together, as
        more of them fit. Where none is large enough the largest is tried: what a trial needs is only an estimate.
        """
        idle = [member for member in members if member.is_idle]
        enough = [member for member in idle if member.memory_bytes >= self.memory_bytes]
        sign = {RunTogether: -1, RunTrial: 1, PrepareData: 0}[type(self.request)]
        if enough:
            return min(enough, key=lambda member: (sign * member.memory_bytes, not member.is_shared, member.number))
        if any(member.hello is not None and member.memory_bytes >= self.memory_bytes for member in members):
            return None
        return max(idle, key=lambda member: member.memory_bytes, default=None)


@dataclass(slots=True, eq=False)
class Member:
    """One worker, and what is going on between it and the driver."""

    number: int
    node: Node
    seat: object
    """What it is called through."""
    hello: Hello | None = None
    """What it said of itself; none while it starts."""
    call: object | None = None
    """The call under way."""
    call_again_at: float = 0.0
    away_since: float = 0.0
    """On the monotonic clock; 0 while it can be reached."""
    orders: list[tuple[int, Order]] = field(default_factory=list)
    """What it was told and has not been heard to have done."""
    ordered: int = 0
    """Number of the last order."""
    sent: int = 0
    """Number of the last order of the last call."""
    heard: int = 0
    """Number of the last report that was heard."""
    held: Held | None = None
    """What it is doing."""
    jobs: list[int] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    since: float = field(default_factory=time.monotonic)
    progress: dict[int, str] = field(default_factory=dict)
    """How far each job is, in words."""

    @property
    def is_idle(self) -> bool:
        """Whether it can be given a request."""
        return self.hello is not None and not self.jobs

    @property
    def is_shared(self) -> bool:
        """Whether it sees the driver's run directory."""
        return self.hello is not None and self.hello.is_shared

    @property
    def memory_bytes(self) -> int:
        """All of its device's memory."""
        return 0 if self.hello is None else self.hello.device.memory_bytes

    @property
    def fetched(self) -> Sequence[Path]:
        """Input files that were brought to it."""
        return () if self.hello is None else self.hello.fetched

    @property
    def open_jobs(self) -> list[int]:
        """Jobs that have not ended."""
        return [job for job in self.jobs if job not in self.ended]

    def begin(self, held: Held) -> None:
        """It is given a request."""
        self.held, self.jobs, self.ended, self.since = held, list(held.jobs), set(), time.monotonic()
        self.progress = {}

    def hear(self, turn: Turn) -> list[Report]:
        """Take what a call brought back."""
        self.orders = [(number, order) for number, order in self.orders if number > self.sent]
        reports = [report for number, report in turn.reports if number > self.heard]
        self.heard = max([self.heard, *(number for number, _ in turn.reports)])
        for report in reports:
            self._note(report.job, report.message)
        if not turn.is_busy and not self.orders:
            self.held, self.jobs, self.ended, self.since = None, [], set(), time.monotonic()
        return reports

    def line(self) -> WorkerLine:
        """What a person is told of it."""
        device = "" if self.hello is None else self.hello.device.name
        return WorkerLine(self.number, self.node.address, device, self._doing(), time.monotonic() - self.since)

    def _note(self, job: int, message: Message) -> None:
        match message:
            case Progressed(progress):
                steps = f" {progress.step}/{progress.steps}" if progress.steps else ""
                self.progress[job] = f"{progress.phase}{steps}"
            case LossTaken() | RungReached() | SeatsFree():
                pass
            case _:
                self.ended.add(job)

    def _doing(self) -> str:
        if self.hello is None:
            return "starting"
        if self.held is None:
            return "idle"
        if self.away_since:
            return "cannot be reached"
        trials = dict(zip(self.held.jobs, self.held.trials, strict=False))
        if not trials:
            return "preparing data"
        return ", ".join(
            f"{_name(trials.get(job))} {self.progress.get(job, 'starting')}".strip() for job in self.open_jobs
        )


def _name(trial: RunTrial | None) -> str:
    if trial is None:
        return ""
    return f"{trial.config.method or 'base model'} {trial.config.number}"
