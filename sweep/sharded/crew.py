"""Train one trial with several processes of this machine, and end all of them as soon as one has failed.

The worker that launches them trains nothing itself. It passes on what the first of them reports, gives every one of
them the driver's verdicts, and watches: a process that fails, is killed or stays away ends the trial within seconds,
with the true failure and not that of a neighbour who missed it.
"""

import contextlib
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from sweep.errors import INPUT_ERRORS, MachineError, TrialError
from sweep.progress import Progress
from sweep.protocol import Progressed, Refused, RungReached, Verdict
from sweep.record import Memory
from sweep.sharded.member import serve
from sweep.sharded.order import Failed, Order, Trained
from sweep.training.outcome import TrainingOutcome

PATIENCE_SECONDS = 600.0
"""What a process waits for another in the middle of a step, at most."""
ECHO_SECONDS = 3.0
"""What is waited for the true failure, once a process has noticed that another is gone."""
LOOK_SECONDS = 1.0
ABORTED = -signal.SIGABRT
"""How nccl ends a process that waits for another in vain."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One of the processes, as the worker sees it."""

    number: int
    process: SpawnProcess
    pipe: Connection
    lifeline: Connection
    """Closing it ends the process."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What a process failed of."""

    error: Exception
    is_echo: bool


def train_together(
    order: Order,
    *,
    on_rung: Callable[[int, float], bool],
    on_progress: Callable[[Progress], None],
    patience_seconds: float = PATIENCE_SECONDS,
) -> tuple[TrainingOutcome, Memory]:
    """Train with as many processes as the method asks for; gives the memory that they took at their peaks.

    Raises TrialError as what one of them failed, InputError where one refuses the user's input, and whatever `on_rung`
    and `on_progress` raise; none of the processes is left then.
    """
    count = order.method.training.num_processes
    gpus = torch.cuda.device_count()
    if torch.cuda.is_available() and gpus < count:
        raise MachineError(
            f"training.num_processes: {count} processes need a GPU each, and this worker has {gpus}. "
            f"Use at most {gpus}."
        )
    with tempfile.TemporaryDirectory() as scratch, _started(order, count, Path(scratch), patience_seconds) as members:
        done = _watch(members, on_rung, on_progress)
    first = done[0]
    memories = [trained.memory for trained in done.values()]
    on_device = [memory.device_bytes for memory in memories if memory.device_bytes is not None]
    memory = Memory(host_bytes=sum(memory.host_bytes for memory in memories), device_bytes=max(on_device, default=None))
    outcome = first.outcome
    outcome.seconds.update(first.seconds)
    return outcome, memory


@contextmanager
def _started(order: Order, count: int, scratch: Path, patience: float) -> Iterator[list[_Member]]:
    members: list[_Member] = []
    try:
        for number in range(count):
            members.append(_start(number, count, order, scratch / "meeting", patience))  # noqa: PERF401 - one that cannot start ends those before it
        yield members
    finally:
        for member in members:
            member.process.kill()
        for member in members:
            member.process.join()
            member.process.close()
            member.pipe.close()
            member.lifeline.close()


def _start(number: int, count: int, order: Order, meeting: Path, patience: float) -> _Member:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    their_lifeline, lifeline = context.Pipe(duplex=False)
    process = context.Process(
        target=serve,
        args=(number, count, order, meeting, theirs, their_lifeline, patience),
        name=f"rank-{number}",
        daemon=True,
    )
    process.start()
    theirs.close()
    their_lifeline.close()
    return _Member(number, process, pipe, lifeline)


def _watch(
    members: list[_Member], on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
) -> dict[int, Trained]:
    """Listen until all have trained. Raises what one of them failed of."""
    done: dict[int, Trained] = {}
    echoes: list[Exception] = []
    listened, until = list(members), float("inf")
    while listened:
        wait([end for member in listened for end in (member.pipe, member.process.sentinel)], LOOK_SECONDS)
        for member in tuple(listened):
            said = _said_by(member, len(members))
            match said:
                case RungReached(rung, loss):
                    _tell_all(members, Verdict(on_rung(rung, loss)))
                case Progressed(progress):
                    on_progress(progress)
                case Trained():
                    done[member.number] = said
                case _Trouble(error, is_echo=False):
                    raise error
                case _Trouble(error):
                    echoes.append(error)
                    until = min(until, time.monotonic() + ECHO_SECONDS)
            if isinstance(said, Trained | _Trouble):
                listened.remove(member)
        if time.monotonic() > until:
            break
    if echoes:
        raise echoes[0]
    return done


def _said_by(member: _Member, count: int) -> object:
    """The next thing that a process has to say, its end included; nothing where it is at work."""
    place = f"Process {member.number + 1} of {count}"
    # In this order: what it said before it ended is read first.
    is_alive = member.process.is_alive()
    try:
        said: object = member.pipe.recv() if member.pipe.poll() else None
    except (EOFError, OSError):
        said, is_alive = None, False
        member.process.join(LOOK_SECONDS)
    match said:
        case Failed(failure, is_echo):
            return _Trouble(TrialError(failure.kind, f"{place}: {failure.message}", failure.traceback), is_echo)
        case Refused(name, message):
            return _Trouble(INPUT_ERRORS[name](message), is_echo=False)
        case None if not is_alive:
            code = member.process.exitcode
            return _Trouble(TrialError("worker_died", f"{place} {_ended(code)}."), is_echo=code == ABORTED)
    return said


def _ended(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL), most likely because the machine ran out of memory"
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _tell_all(members: list[_Member], verdict: Verdict) -> None:
    for member in members:
        with contextlib.suppress(OSError):  # It died in this moment, which is noticed next.
            member.pipe.send(verdict)
