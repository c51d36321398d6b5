"""One worker process as its driver sees it: what it is doing, what it says, and how it ends."""

import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import psutil

from sweep.pool.evidence import MemoryEvidence
from sweep.pool.log import WorkerLog
from sweep.protocol import Crashed, Died, Emptied, Finished, Message, Placed, Prepared, Ready, Refused, Report

SETTLING_REQUESTS = 4
"""Requests after which a worker holds all that it keeps between trials."""
GROWTH = 1.5
"""Times its settled memory, and the spare bytes above it, at which an idle worker is replaced."""
LOOK_SECONDS = 1.0
"""How often a worker is looked at that says nothing: the end of its pipe may be held open by a child of its own."""


@dataclass(slots=True)
class Worker:
    """One process, and what it is doing."""

    process: SpawnProcess
    requests: Connection
    lifeline: Connection
    """Closing it ends the process at once."""
    log: WorkerLog
    evidence: MemoryEvidence
    """Of what it would mean that the process is killed."""
    is_ready: bool = False
    jobs: list[int] = field(default_factory=list)
    """What it was given with its request and for seats that came free, by place; empty while it is idle."""
    ended: set[int] = field(default_factory=set)
    """Jobs among them that have ended."""
    deadline_seconds: float | None = None
    """Wall time that the latest job may take, grace included."""
    expires: float | None = None
    """When it will have taken that, on the monotonic clock."""
    heard: float = field(default_factory=time.monotonic)
    """When it last said something or was given something to do, on the monotonic clock."""
    answered: int = 0
    """Requests that it has answered."""
    settled_bytes: int = 0
    """Most memory that it held after one of the first of them, by when it has loaded all that it keeps."""

    @property
    def is_busy(self) -> bool:
        """Whether a request has not been answered yet."""
        return bool(self.jobs)

    @property
    def open_jobs(self) -> list[int]:
        """Jobs that have not ended."""
        return [job for job in self.jobs if job not in self.ended]

    def clear(self) -> None:
        """The request has been answered."""
        self.jobs, self.ended = [], set()


def read(worker: Worker, message: Ready | Placed | Emptied | Message) -> list[Report]:
    """What a worker's message says of which job."""
    match message:
        case Ready():
            worker.is_ready = True
            start_clock(worker)
            return []
        case Emptied():
            forgotten = Crashed("A worker ended without a word about this trial.", "")
            reports = [Report(job, forgotten) for job in worker.open_jobs]
            worker.clear()
            return reports
        case Placed(place, inner):
            if isinstance(inner, Finished):
                worker.ended.add(worker.jobs[place])
            return [Report(worker.jobs[place], inner)]
        case Prepared() | Finished() | Refused() | Crashed():
            reports = [Report(job, message) for job in worker.open_jobs]
            worker.clear()
            return reports
    return [Report(worker.jobs[0], message)]


def has_grown(worker: Worker, *, spare_bytes: int) -> bool:
    """Whether an idle worker holds far more than when it had settled: something leaks, and the next trial pays."""
    try:
        held = psutil.Process(worker.process.pid).memory_info().rss
    except psutil.Error:
        return True
    worker.answered += 1
    if worker.answered <= SETTLING_REQUESTS:
        worker.settled_bytes = max(worker.settled_bytes, held)
    return held > GROWTH * worker.settled_bytes + spare_bytes


def start_clock(worker: Worker) -> None:
    """Begin to count the time that the latest job may take."""
    # Importing torch and its friends is not part of the trial.
    if worker.is_ready and worker.deadline_seconds is not None:
        worker.expires = time.monotonic() + worker.deadline_seconds
    else:
        worker.expires = None


def end(worker: Worker) -> None:
    """End a process, by force where it must be."""
    for signal_process in (worker.process.terminate, worker.process.kill):
        if worker.process.is_alive():
            signal_process()
            worker.process.join(LOOK_SECONDS)
    for end in (worker.requests, worker.lifeline):
        end.close()
    worker.log.finish(LOOK_SECONDS)


def death_of(worker: Worker) -> Died:
    """What ended a process, and what that says of its trials."""
    code, ran_out = worker.process.exitcode, False
    if code is None:
        reason = "stopped answering"
    elif code == -signal.SIGKILL:
        finding = worker.evidence.find()
        reason, ran_out = f"was killed (SIGKILL) {finding.why}", finding.ran_out
    elif code < 0:
        reason = f"was ended by {signal.Signals(-code).name}"
    else:
        reason = f"ended with exit code {code}"
    text = f"The worker process {reason}. What it printed is in {worker.log.path.name}."
    return Died("out_of_memory" if ran_out else "worker_died", text)
