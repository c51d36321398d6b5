"""Workers as processes on this machine, one for each device.

A process is spawned, never forked: a fork of a driver that has threads or has looked at a GPU is a copy that may hang.
A worker that dies takes only its own job with it; the next job gets a new process. Nothing here reads a record.
"""

import contextlib
import multiprocessing
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from sweep.errors import WorkerDiedError
from sweep.protocol import (
    Crashed,
    Died,
    Finished,
    Message,
    Prepared,
    Ready,
    Refused,
    Report,
    Request,
    Runner,
    Verdict,
)
from sweep.worker import serve

LOOK_SECONDS = 1.0
"""How often a worker is looked at that says nothing: the end of its pipe may be held open by a child of its own."""


@dataclass(slots=True)
class Worker:
    """One process, and what it is doing."""

    process: SpawnProcess
    requests: Connection
    lifeline: Connection
    """Closing it ends the process at once."""
    log: Path
    is_ready: bool = False
    job: int | None = None
    deadline_seconds: float | None = None
    """Wall time that the job may take, grace included."""
    expires: float | None = field(default=None)
    """When it will have taken that, on the monotonic clock."""


class LocalPool:
    """Runs jobs through one worker process for each device. Processes start when the first job needs them."""

    def __init__(
        self,
        build_runner: Callable[[], Runner],
        *,
        logs: Path,
        devices: Sequence[str | None] = (None,),
        grace_seconds: float = 60.0,
        stop_seconds: float = 8.0,
    ) -> None:
        """`build_runner` is pickled and called in each worker; `logs` gets a file for each.

        `devices` are values of CUDA_VISIBLE_DEVICES, None for whatever the driver has. A worker is ended
        `grace_seconds` after its job's deadline.
        """
        self._build_runner = build_runner
        self._logs = logs
        self._devices = tuple(devices)
        self._grace_seconds = grace_seconds
        self._stop_seconds = stop_seconds
        self._workers: list[Worker | None] = [None for _ in self._devices]
        self._jobs = 0

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle, or not yet started."""
        return any(worker is None or worker.job is None for worker in self._workers)

    def submit(self, request: Request, *, deadline_seconds: float | None = None) -> int:
        """Hand a job to an idle worker, starting or replacing it where needed. Raises RuntimeError without room."""
        seat = next((seat for seat, worker in enumerate(self._workers) if worker is None or worker.job is None), None)
        if seat is None:
            raise RuntimeError("every worker is busy.")
        worker = self._worker(seat)
        self._jobs += 1
        worker.job = self._jobs
        worker.deadline_seconds = None if deadline_seconds is None else deadline_seconds + self._grace_seconds
        _start_clock(worker)
        with contextlib.suppress(OSError):  # It died in this moment; `wait` will say so.
            worker.requests.send(request)
        return self._jobs

    def wait(self, timeout_seconds: float) -> list[Report]:
        """Messages of all busy workers; deaths and overrun deadlines among them."""
        until = time.monotonic() + timeout_seconds
        while True:
            busy = [worker for worker in self._workers if worker is not None and worker.job is not None]
            pause = max(0.0, min(LOOK_SECONDS, until - time.monotonic()))
            if not busy:
                return []
            wait([end for worker in busy for end in (worker.requests, worker.process.sentinel)], pause)
            reports = [report for worker in busy for report in self._collect(worker)]
            if reports or time.monotonic() >= until:
                return reports

    def reply(self, job: int, verdict: Verdict) -> None:
        """Answer a rung of a job."""
        for worker in self._workers:
            if worker is not None and worker.job == job:
                with contextlib.suppress(OSError):  # It died while waiting; `wait` will say so.
                    worker.requests.send(verdict)

    def close(self) -> None:
        """End all workers: they are asked, then terminated, then killed. A trial that is running is not waited for."""
        workers = [worker for worker in self._workers if worker is not None]
        self._workers = [None for _ in self._devices]
        for worker in workers:
            # An idle worker hears that nothing more will come and cleans up after itself; a busy one ends where it is.
            (worker.requests if worker.job is None else worker.lifeline).close()
        until = time.monotonic() + self._stop_seconds
        for worker in workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            _end(worker)

    def _worker(self, seat: int) -> Worker:
        worker = self._workers[seat]
        # An idle worker has nothing to say: what can be read from it is the end of its pipe.
        if worker is not None and (worker.requests.poll() or not worker.process.is_alive()):
            _end(worker)
            worker = None
        if worker is None:
            worker = self._workers[seat] = self._start(seat)
        return worker

    def _start(self, seat: int) -> Worker:
        context = multiprocessing.get_context("spawn")
        requests, their_requests = context.Pipe()
        their_lifeline, lifeline = context.Pipe(duplex=False)
        log = self._logs / f"worker-{seat}.log"
        process = context.Process(
            target=serve,
            args=(their_requests, their_lifeline),
            kwargs={"log": log, "device": self._devices[seat], "build_runner": self._build_runner},
            name=f"worker-{seat}",
        )
        process.start()
        # The worker holds its own copies; ours would keep a pipe open after its end.
        their_requests.close()
        their_lifeline.close()
        return Worker(process, requests, lifeline, log)

    def _collect(self, worker: Worker) -> list[Report]:
        if worker.job is None:
            raise WorkerDiedError("a worker without a job was asked for its messages.")
        job, reports = worker.job, []
        try:
            while worker.requests.poll():
                message: Ready | Message = worker.requests.recv()
                if isinstance(message, Ready):
                    worker.is_ready = True
                    _start_clock(worker)
                    continue
                reports.append(Report(job, message))
                if isinstance(message, Prepared | Finished | Refused | Crashed):
                    worker.job = None
                    return reports
        except (EOFError, OSError):
            worker.process.join(LOOK_SECONDS)
            return [*reports, self._bury(worker, job, Died("worker_died", _cause_of_death(worker)))]
        if not worker.process.is_alive() and not worker.requests.poll():
            return [*reports, self._bury(worker, job, Died("worker_died", _cause_of_death(worker)))]
        if worker.expires is not None and time.monotonic() > worker.expires:
            late = f"The trial ran {self._grace_seconds:.0f} s past its deadline without ending, so it was ended."
            return [*reports, self._bury(worker, job, Died("deadline", late))]
        return reports

    def _bury(self, worker: Worker, job: int, death: Died) -> Report:
        _end(worker)
        self._workers[self._workers.index(worker)] = None
        return Report(job, death)


def cuda_devices() -> tuple[str, ...]:
    """Identifiers of this machine's NVIDIA GPUs, as CUDA_VISIBLE_DEVICES takes them; found without torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    listed = subprocess.run(  # noqa: S603 - found on the PATH, with fixed arguments
        [program, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=False, timeout=60
    )
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.startswith("GPU-"))


def _start_clock(worker: Worker) -> None:
    # Importing torch and its friends is not part of the trial.
    if worker.is_ready and worker.deadline_seconds is not None:
        worker.expires = time.monotonic() + worker.deadline_seconds
    else:
        worker.expires = None


def _end(worker: Worker) -> None:
    for signal_process in (worker.process.terminate, worker.process.kill):
        if worker.process.is_alive():
            signal_process()
            worker.process.join(LOOK_SECONDS)
    for end in (worker.requests, worker.lifeline):
        end.close()


def _cause_of_death(worker: Worker) -> str:
    code = worker.process.exitcode
    if code is None:
        reason = "stopped answering"
    elif code == -signal.SIGKILL:
        reason = "was killed (SIGKILL), most likely because the machine ran out of memory"
    elif code < 0:
        reason = f"was ended by {signal.Signals(-code).name}"
    else:
        reason = f"ended with exit code {code}"
    return f"The worker process {reason}. What it printed is in {worker.log.name}."
