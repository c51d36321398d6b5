"""Workers as processes on this machine, one for each device.

A process is spawned, never forked: a fork of a driver that has threads or has looked at a GPU is a copy that may hang.
A worker that dies takes only its own job with it; the next job gets a new process. Nothing here reads a record.
"""

import contextlib
import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from sweep.errors import WorkerDiedError
from sweep.plan.devices import largest
from sweep.pool.evidence import MemoryEvidence
from sweep.pool.log import WorkerLog
from sweep.pool.process import LOOK_SECONDS, Worker, death_of, end, has_grown, read, start_clock
from sweep.protocol import (
    Died,
    Report,
    Request,
    Runner,
    RunTogether,
    RunTrial,
    Seated,
    Verdict,
)
from sweep.shape import Facts
from sweep.stopping import SAVE_AND_END
from sweep.worker import serve


class LocalPool:
    """Runs jobs through one worker process for each device. Processes start when the first job needs them."""

    def __init__(  # noqa: PLR0913
        self,
        build_runner: Callable[[], Runner],
        *,
        logs: Path,
        devices: Sequence[str | None] = (None,),
        grace_seconds: float = 60.0,
        stop_seconds: float = 6.0,
        spare_bytes: int = 4 * 10**9,
        silence_seconds: float | None = None,
        first_number: int = 0,
        threads: int | None = None,
    ) -> None:
        """`build_runner` is pickled and called in each worker; `logs` gets a file for each.

        `devices` are values of CUDA_VISIBLE_DEVICES, None for whatever the driver has. A worker is ended
        `grace_seconds` after its job's deadline, or after `silence_seconds` without a word, and replaced
        between jobs once it has grown by half of what it held at first and `spare_bytes`. Logs are numbered from
        `first_number`; `threads` are what each worker computes with.
        """
        self._build_runner = build_runner
        self._logs = logs
        self._devices = tuple(devices)
        self._grace_seconds = grace_seconds
        self._stop_seconds = stop_seconds
        self._spare_bytes = spare_bytes
        self._silence_seconds = silence_seconds
        self._first_number = first_number
        self._threads = threads
        self._workers: list[Worker | None] = [None for _ in self._devices]
        self._jobs = 0
        self._listened = time.monotonic()

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle, or not yet started."""
        return any(worker is None or not worker.is_busy for worker in self._workers)

    def submit(self, request: Request, *, deadline_seconds: float | None = None) -> int:
        """Hand a job to an idle worker, starting or replacing it where needed. Raises RuntimeError without room."""
        return self._hand_out(request, 1, deadline_seconds)[0]

    def submit_together(self, request: RunTogether, *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Hand several trials to one idle worker; each is a job of its own. Raises RuntimeError without room."""
        return self._hand_out(request, len(request.trials), deadline_seconds)

    def seat(self, job: int, trials: Sequence[RunTrial], *, deadline_seconds: float | None = None) -> Sequence[int]:
        """Answer free seats, reported of `job`. Gives the new jobs, or nothing where the worker is gone."""
        worker = self._worker_of(job)
        if worker is None:
            return ()
        jobs = self._enter(worker, len(trials), deadline_seconds)
        with contextlib.suppress(OSError):  # It died in this moment; `wait` will say so.
            worker.requests.send(Seated(tuple(trials)))
        return jobs

    def wait(self, timeout_seconds: float) -> list[Report]:
        """Messages of all busy workers; deaths and overrun deadlines among them."""
        until = time.monotonic() + timeout_seconds
        self._excuse(time.monotonic() - self._listened)
        try:
            return self._listen(until)
        finally:
            self._listened = time.monotonic()

    def _excuse(self, seconds: float) -> None:
        """Give workers the time back in which nobody listened, as when the driver waited for a database."""
        for worker in self._workers:
            if worker is not None:
                worker.heard += seconds
                worker.expires = None if worker.expires is None else worker.expires + seconds

    def _listen(self, until: float) -> list[Report]:
        while True:
            busy = [worker for worker in self._workers if worker is not None and worker.is_busy]
            pause = max(0.0, min(LOOK_SECONDS, until - time.monotonic()))
            if not busy:
                return []
            for worker in busy:
                worker.evidence.look()
            wait([end for worker in busy for end in (worker.requests, worker.process.sentinel)], pause)
            reports = [report for worker in busy for report in self._collect(worker)]
            if reports or time.monotonic() >= until:
                return reports

    def reply(self, job: int, verdict: Verdict) -> None:
        """Answer a rung of a job."""
        worker = self._worker_of(job)
        if worker is not None:
            with contextlib.suppress(OSError):  # It died while waiting; `wait` will say so.
                worker.requests.send(verdict)

    def largest(self, facts: Facts) -> Facts:
        """The facts with the largest device that a worker may have: what fits one of them is not refused."""
        return largest(facts, self._devices)

    def close(self) -> None:
        """End all workers: they are asked, then terminated, then killed.

        A training that goes on is given the time to save its state; nothing else is waited for.
        """
        workers = [worker for worker in self._workers if worker is not None]
        self._workers = [None for _ in self._devices]
        try:
            for worker in workers:
                # An idle worker hears that nothing more will come and cleans up after itself.
                if worker.is_busy:
                    with contextlib.suppress(OSError):
                        worker.lifeline.send_bytes(SAVE_AND_END)
                else:
                    worker.requests.close()
            until = time.monotonic() + self._stop_seconds
            for worker in workers:
                worker.process.join(max(0.0, until - time.monotonic()))
        finally:
            # Whatever interrupts this: Python waits at its own end for a process that nobody has ended.
            for worker in workers:
                end(worker)

    def _hand_out(self, request: Request, count: int, deadline_seconds: float | None) -> Sequence[int]:
        seat = next((seat for seat, worker in enumerate(self._workers) if worker is None or not worker.is_busy), None)
        if seat is None:
            raise RuntimeError("every worker is busy.")
        worker = self._worker(seat)
        jobs = self._enter(worker, count, deadline_seconds)
        with contextlib.suppress(OSError):  # It died in this moment; `wait` will say so.
            worker.requests.send(request)
        return jobs

    def _enter(self, worker: Worker, count: int, deadline_seconds: float | None) -> Sequence[int]:
        """Numbers for so many jobs that a worker is about to be given."""
        jobs = range(self._jobs + 1, self._jobs + count + 1)
        self._jobs += count
        worker.jobs.extend(jobs)
        worker.heard = time.monotonic()
        if count:
            worker.deadline_seconds = None if deadline_seconds is None else deadline_seconds + self._grace_seconds
            start_clock(worker)
        return jobs

    def _worker_of(self, job: int) -> Worker | None:
        return next((worker for worker in self._workers if worker is not None and job in worker.jobs), None)

    def _worker(self, seat: int) -> Worker:
        worker = self._workers[seat]
        # An idle worker has nothing to say: what can be read from it is the end of its pipe.
        if worker is not None and (
            worker.requests.poll() or not worker.process.is_alive() or has_grown(worker, spare_bytes=self._spare_bytes)
        ):
            end(worker)
            worker = None
        if worker is None:
            worker = self._workers[seat] = self._start(seat)
        return worker

    def _start(self, seat: int) -> Worker:
        context = multiprocessing.get_context("spawn")
        requests, their_requests = context.Pipe()
        their_lifeline, lifeline = context.Pipe(duplex=False)
        output, their_output = context.Pipe(duplex=False)
        log = WorkerLog(self._logs / f"worker-{self._first_number + seat}.log", output)
        process = context.Process(
            target=serve,
            args=(their_requests, their_lifeline),
            kwargs={
                "output": their_output,
                "device": self._devices[seat],
                "threads": self._threads,
                "build_runner": self._build_runner,
            },
            name=f"worker-{seat}",
        )
        process.start()
        # The worker holds its own copies; ours would keep a pipe open after its end.
        their_requests.close()
        their_lifeline.close()
        their_output.close()
        return Worker(process, requests, lifeline, log, MemoryEvidence.of(process.pid))

    def _collect(self, worker: Worker) -> list[Report]:
        if not worker.is_busy:
            raise WorkerDiedError("a worker without a job was asked for its messages.")
        reports: list[Report] = []
        try:
            while worker.is_busy and worker.requests.poll():
                reports += read(worker, worker.requests.recv())
                worker.heard = time.monotonic()
        except (EOFError, OSError):
            worker.process.join(LOOK_SECONDS)
            return [*reports, *self._bury(worker, death_of(worker))]
        if not worker.jobs:
            return reports
        if not worker.process.is_alive() and not worker.requests.poll():
            return [*reports, *self._bury(worker, death_of(worker))]
        if worker.expires is not None and time.monotonic() > worker.expires:
            late = f"The trial ran {self._grace_seconds:.0f} s past its deadline without ending, so it was ended."
            return [*reports, *self._bury(worker, Died("deadline", late))]
        if self._silence_seconds is not None and time.monotonic() > worker.heard + self._silence_seconds:
            hung = f"The worker process gave no sign of life for {self._silence_seconds:.0f} s, so it was ended."
            return [*reports, *self._bury(worker, Died("worker_died", hung))]
        return reports

    def _bury(self, worker: Worker, death: Died) -> list[Report]:
        end(worker)
        self._workers[self._workers.index(worker)] = None
        return [Report(job, death) for job in worker.open_jobs]


def cuda_devices() -> tuple[str, ...]:
    """Identifiers of this machine's NVIDIA GPUs, as CUDA_VISIBLE_DEVICES takes them; found without torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    listed = subprocess.run(  # noqa: S603 - found on the PATH, with fixed arguments
        [program, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=False, timeout=60
    )
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.startswith("GPU-"))
