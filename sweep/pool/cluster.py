"""Jobs on the nodes of a cluster, one worker for each device, whatever connects the nodes.

A job goes to the smallest device that has the memory for it, and waits where all of those are at work. A node that is
lost takes only its own jobs with it, and they are reported `lost`, which says nothing about them.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from sweep.board import write_board
from sweep.errors import InputError
from sweep.pool.member import Held, Member
from sweep.pool.nodes import AwayError, GoneError
from sweep.pool.roster import Roster
from sweep.pool.seat import Hello, Judged, Order, Seating, Submit, Turn
from sweep.protocol import Died, PrepareData, Report, Request, RunTogether, RunTrial, Verdict
from sweep.shape import Facts

LISTEN_SECONDS = 1.0
AWAY_SECONDS = 60.0
"""How long a worker is waited for that cannot be reached while its node is not known to be lost."""
AGAIN_SECONDS = 1.0
"""Pause before such a worker is called again."""
BOARD_SECONDS = 2.0


class ClusterPool:
    """Runs jobs through the workers of a cluster, which is joined when the first job comes."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._held: list[Held] = []
        self._jobs = 0
        self._drawn = 0.0

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle; before there are any, one job is taken all the same."""
        self._roster.look()
        members = self._roster.members
        if any(member.is_idle for member in members):
            # Some jobs may wait for a large device while a small one is idle.
            return len(self._held) < len(members)
        return not self._held and not any(member.hello for member in members)

    def submit(self, request: Request, *, deadline_seconds: float | None = None) -> int:
        """Hand a job in. It begins once a worker with the memory for it is idle. Raises RuntimeError without room."""
        return self._take_in(request, 1, deadline_seconds)[0]

    def submit_together(self, request: RunTogether, *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Hand in trials to be run together; each is a job of its own. Raises RuntimeError without room."""
        return self._take_in(request, len(request.trials), deadline_seconds)

    def seat(self, job: int, trials: Sequence[RunTrial], *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Answer free seats, reported of `job`. Gives the new jobs, or nothing where the worker is gone."""
        member = self._member_of(job)
        if member is None:
            return ()
        jobs = self._number(len(trials))
        member.jobs += jobs
        self._order(member, Seating(job, jobs, tuple(trials), deadline_seconds))
        return jobs

    def reply(self, job: int, verdict: Verdict) -> None:
        """Answer a rung."""
        member = self._member_of(job)
        if member is not None:
            self._order(member, Judged(job, verdict))

    def wait(self, timeout_seconds: float) -> Sequence[Report]:
        """What has come in; nothing as soon as a worker has become free or joined.

        Raises ClusterLostError where there has been no worker for too long, MachineError where no node can be used.
        """
        until = time.monotonic() + timeout_seconds
        had_room = self.has_room
        while self._held or any(member.jobs for member in self._roster.members):
            reports = self._listen(max(0.0, min(LISTEN_SECONDS, until - time.monotonic())))
            self._hand_out()
            self._draw()
            if reports or time.monotonic() >= until or (self.has_room and not had_room):
                return reports
            self._roster.give_up_without_workers()
        return []

    def largest(self, facts: Facts) -> Facts:
        """The facts with the largest device that a worker may have: what fits one of them is not refused."""
        devices = [member.hello.device for member in self._roster.members if member.hello is not None]
        return replace(facts, device=max([facts.device, *devices], key=lambda device: device.memory_bytes))

    def close(self) -> None:
        """End all workers: trainings that go on save their states first."""
        self._held = []
        self._roster.close()

    def _take_in(self, request: Request, count: int, deadline_seconds: float | None) -> Sequence[int]:
        if not self.has_room:
            raise RuntimeError("every worker is busy.")
        jobs = self._number(count)
        self._held.append(Held(jobs, request, deadline_seconds))
        self._hand_out()
        return jobs

    def _number(self, count: int) -> tuple[int, ...]:
        self._jobs += count
        return tuple(range(self._jobs - count + 1, self._jobs + 1))

    def _hand_out(self) -> None:
        """Give jobs that wait to idle workers."""
        for held in list(self._held):
            member = held.choose(self._roster.members)
            if member is not None:
                self._held.remove(held)
                member.begin(held)
                self._order(member, Submit(held.jobs, held.request, held.deadline_seconds))

    def _member_of(self, job: int) -> Member | None:
        return next((member for member in self._roster.members if job in member.jobs), None)

    def _order(self, member: Member, order: Order) -> None:
        member.ordered += 1
        member.orders.append((member.ordered, order))
        self._turn(member)

    def _turn(self, member: Member) -> None:
        """Call a worker that has something to hear or to say, unless a call is under way."""
        if member.call is not None or time.monotonic() < member.call_again_at:
            return
        if member.hello is None:
            self._roster.call(member, "hello")
        elif member.orders or member.jobs:
            self._roster.call(member, "turn", tuple(member.orders), member.heard)

    def _listen(self, seconds: float) -> list[Report]:
        for member in self._roster.members:
            self._turn(member)
        under_way = [member for member in self._roster.members if member.call is not None]
        if not under_way:
            time.sleep(min(seconds, 0.1))
            return []
        done = self._roster.cluster.ready([member.call for member in under_way], seconds)
        return [report for member in under_way if member.call in done for report in self._answered(member)]

    def _answered(self, member: Member) -> list[Report]:
        call, member.call = member.call, None
        try:
            answer: Hello | Turn = self._roster.cluster.result(call)
        except AwayError as error:
            now = time.monotonic()
            member.away_since = member.away_since or now
            member.call_again_at = now + AGAIN_SECONDS
            return self._lose(member, str(error)) if now - member.away_since > AWAY_SECONDS else []
        except GoneError as error:
            return self._lose(member, str(error))
        except InputError as error:
            if member.hello is not None:
                return self._lose(member, str(error).rstrip("."))
            self._roster.refuse(member, str(error))
            return []
        member.away_since = 0.0
        if isinstance(answer, Hello):
            self._roster.greet(member, answer)
            return []
        return member.hear(answer)

    def _lose(self, member: Member, why: str) -> list[Report]:
        """A worker is gone: its jobs are lost, but for one that can be given to another as it is."""
        text = self._roster.lose(member, why)
        if member.held is not None and isinstance(member.held.request, PrepareData):
            self._held.insert(0, member.held)
            return []
        return [Report(job, Died("lost", text)) for job in member.open_jobs]

    def _draw(self) -> None:
        """Bring the board up to date, now and then."""
        if time.monotonic() - self._drawn >= BOARD_SECONDS:
            self._drawn = time.monotonic()
            with contextlib.suppress(OSError):  # It is for eyes only.
                write_board(self._roster.run, [member.line() for member in self._roster.members])
