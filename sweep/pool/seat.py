"""A worker on a node of a cluster, as the driver reaches it: the local pool's own worker process, and a messenger.

Trials run in a process below the messenger's, so that a segfault or a lack of memory kills that one only. The driver
asks for everything in one call, `turn`, which may be made again: orders that were carried out already are not
carried out twice, and reports are kept until the driver says that it has them. So a call that a network lost costs
nothing. Nothing here knows what carries the calls.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sweep.plan.devices import cpu, gpus
from sweep.pool.agreement import versions
from sweep.pool.local import LocalPool
from sweep.pool.shelf import Carrier, Files
from sweep.progress import Progress
from sweep.protocol import (
    Crashed,
    Died,
    Finished,
    Message,
    Prepared,
    PrepareData,
    Progressed,
    Refused,
    Report,
    Request,
    Runner,
    RunTogether,
    RunTrial,
    Verdict,
)
from sweep.shape import Device
from sweep.store import TrialDirectory

TURN_SECONDS = 0.5
"""Longest time that a turn waits for something to report: an order of the driver's waits behind it."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Begin these jobs: one, or as many as the request has trials."""

    jobs: tuple[int, ...]
    request: Request
    deadline_seconds: float | None


@dataclass(frozen=True, slots=True)
class Seating:
    """Give free seats, reported of a job, to new jobs."""

    job: int
    jobs: tuple[int, ...]
    trials: tuple[RunTrial, ...]
    deadline_seconds: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer to a job's rung."""

    job: int
    verdict: Verdict


Order = Submit | Seating | Judged


@dataclass(frozen=True, slots=True)
class Turn:
    """What a call brings back."""

    reports: tuple[tuple[int, Report], ...]
    """Reports that the driver has not said it has, each with its number."""
    is_busy: bool
    """Whether the worker has a request to answer yet."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node says of itself."""

    host: str
    device: Device
    versions: Mapping[str, str]
    """What has to agree with the driver's."""
    is_shared: bool
    """Whether the run directory is the driver's own."""
    fetched: tuple[Path, ...] = ()
    """Input files that had to be brought here."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a seat is made with."""

    build_runner: Callable[[], Runner]
    run: Path
    number: int
    """Names its log."""
    device: str | None
    """What CUDA_VISIBLE_DEVICES becomes; none leaves it."""
    threads: int
    """Threads that the worker computes with."""
    marker: str
    """Contents of the file of this name, which the driver wrote into the run directory."""
    working_directory: Path
    """The driver's, for paths that start from it."""
    grace_seconds: float
    stop_seconds: float
    silence_seconds: float | None = None


class Seat:
    """One worker on one device of this node."""

    def __init__(self, setting: Setting, files: Files) -> None:
        self._setting = setting
        self._carrier = Carrier(files)
        self._jobs: dict[int, int] = {}
        self._directories: dict[int, TrialDirectory] = {}
        self._outbox: list[tuple[int, Report]] = []
        self._done = self._reported = 0
        self._rows: Path | None = None
        self._complaint = ""

    def hello(self) -> Hello:
        """What this node is. Raises MachineError where the study's files cannot be had here, or are others."""
        setting = self._setting
        if not self._is_shared:
            self._carrier.settle_in(setting.run)
        visible = setting.device if setting.device is not None else os.environ.get("CUDA_VISIBLE_DEVICES")
        found = gpus(visible.split(",")) if visible else ()
        fetched = self._carrier.fetch_inputs()
        if setting.working_directory.is_dir():
            os.chdir(setting.working_directory)
        return Hello(platform.node(), found[0] if found else cpu(), versions(), self._is_shared, tuple(fetched))

    def turn(self, orders: Sequence[tuple[int, Order]], heard: int) -> Turn:
        """Carry orders out, by their numbers; then wait a little for reports later than number `heard`."""
        self._outbox = [(number, report) for number, report in self._outbox if number > heard]
        for number, order in orders:
            if number > self._done:
                self._done = number
                self._carry_out(order)
        if not self._outbox and not self._pool.has_room:
            for report in self._pool.wait(TURN_SECONDS):
                self._hear(self._jobs[report.job], report.message)
            self._bring_states()
        return Turn(tuple(self._outbox), not self._pool.has_room)

    def close(self) -> None:
        """End the worker, with its state saved, and bring what it left."""
        self._pool.close()
        for job in list(self._directories):
            self._bring(job)
        self._bring_log()

    def tidy(self, fetched: Sequence[Path]) -> None:
        """Remove what was brought to this node and made here, where it is not the driver's own."""
        if not self._is_shared:
            self._carrier.move_out(self._setting.run)
        for path in fetched:
            path.unlink(missing_ok=True)

    @cached_property
    def _is_shared(self) -> bool:
        """Whether the driver's marker is in the run directory that is seen here."""
        marker = self._setting.run / self._setting.marker
        return marker.is_file() and marker.read_text("utf-8") == self._setting.marker

    @cached_property
    def _pool(self) -> LocalPool:
        setting = self._setting
        return LocalPool(
            setting.build_runner,
            logs=setting.run,
            devices=(setting.device,),
            first_number=setting.number,
            threads=setting.threads,
            grace_seconds=setting.grace_seconds,
            stop_seconds=setting.stop_seconds,
            silence_seconds=setting.silence_seconds,
        )

    def _carry_out(self, order: Order) -> None:
        match order:
            case Judged(job, verdict):
                self._pool.reply(self._own(job), verdict)
            case Submit(jobs, request, deadline):
                trials = _trials(request)
                self._rows = request.directory if isinstance(request, PrepareData) else None
                if self._fetch(jobs, trials):
                    self._enter(jobs, self._submit(request, deadline))
            case Seating(job, jobs, trials, deadline):
                seated = self._fetch(jobs, trials)
                own = self._pool.seat(self._own(job), trials if seated else (), deadline_seconds=deadline)
                self._enter(jobs if seated else (), own)

    def _submit(self, request: Request, deadline: float | None) -> Sequence[int]:
        if isinstance(request, RunTogether):
            return self._pool.submit_together(request, deadline_seconds=deadline)
        return [self._pool.submit(request, deadline_seconds=deadline)]

    def _enter(self, jobs: Sequence[int], own: Sequence[int]) -> None:
        self._jobs.update(zip(own, jobs, strict=False))
        for job in jobs[len(own) :]:
            self._hear(job, Died("worker_died", "The worker process ended before it could begin this trial."))

    def _own(self, job: int) -> int:
        """The local pool's number of a job of the driver's; one that it does not know where the job has ended."""
        return next((own for own, theirs in self._jobs.items() if theirs == job), 0)

    def _hear(self, job: int, message: Message) -> None:
        if isinstance(message, Prepared | Finished | Crashed | Died | Refused):
            try:
                if isinstance(message, Prepared) and self._rows is not None and not self._is_shared:
                    self._carrier.copy(self._rows)
                self._bring(job, without_state=isinstance(message, Finished) and message.record.failure is None)
                self._bring_log()
            except OSError as error:
                message = Crashed(f"the trial's files could not be brought to the run directory: {error}", "")
        self._say(job, message)

    def _say(self, job: int, message: Message) -> None:
        self._reported += 1
        self._outbox.append((self._reported, Report(job, message)))

    def _fetch(self, jobs: Sequence[int], trials: Sequence[RunTrial]) -> bool:
        """Have the trials' directories here. Where that fails, the jobs end with it."""
        if self._is_shared:
            return True
        try:
            for job, trial in zip(jobs, trials, strict=False):
                self._carrier.fetch(trial.directory)
                self._directories[job] = TrialDirectory(trial.directory)
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            for job in jobs:
                self._directories.pop(job, None)
                self._say(job, Refused(type(error).__name__, str(error)))
            return False
        return True

    def _bring(self, job: int, *, without_state: bool = False) -> None:
        directory = self._directories.pop(job, None)
        if directory is not None:
            if without_state:
                directory.training_state.unlink(missing_ok=True)
            self._carrier.bring(directory.path)

    def _bring_states(self) -> None:
        """Bring training states that are new: where this node is lost, their trials go on from them."""
        for job, directory in self._directories.items():
            try:
                self._carrier.bring_if_new(directory.training_state)
            except OSError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    note = f"Its training state could not be brought to the run directory: {error}."
                    self._say(job, Progressed(Progress("train", 0, 0, None, note=note)))

    def _bring_log(self) -> None:
        if not self._is_shared:
            self._carrier.bring_if_new(self._setting.run / f"worker-{self._setting.number}.log")


def _trials(request: Request) -> tuple[RunTrial, ...]:
    if isinstance(request, PrepareData):
        return ()
    return request.trials if isinstance(request, RunTogether) else (request,)
