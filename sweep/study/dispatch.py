"""Run trials through a pool until a source has no more.

The order in which an outcome becomes known is decided here, once: the record is written, then the source (and through
it Optuna) is told, then tracking, then whoever watches. A driver killed between two of these finds out from the record.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from evals.errors import InputError, ModelError, RunError, TaskError
from sweep.config import TrialConfig
from sweep.errors import DataError, MachineError, RunDirectoryError
from sweep.events import Notice, OnEvent, TrialEnded, TrialProgress, TrialRung, TrialStarted
from sweep.openings import note_test_opening
from sweep.protocol import (
    Crashed,
    Died,
    Finished,
    Message,
    Pool,
    Prepared,
    PrepareData,
    Progressed,
    Refused,
    RungReached,
    RunTrial,
    Verdict,
)
from sweep.record import Failure, FailureKind, TrialRecord
from sweep.store import RunDirectory, TrialDirectory, trained_tokens, write_config, write_record

WAIT_SECONDS = 60.0
INTERRUPTIONS = 3
"""Times a trial is started again after its worker was interrupted, before that counts as its end."""
INPUT_ERRORS: Mapping[str, type[InputError]] = {
    error.__name__: error for error in (DataError, InputError, MachineError, ModelError, RunDirectoryError, TaskError)
}


class TrialTracker(Protocol):
    """Logs a study somewhere; never raises, never waits long."""

    def start(self) -> None:
        """Begin."""

    def log(self, record: TrialRecord, directory: TrialDirectory) -> None:
        """Log a record that has been written."""

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End the study's run."""


class TrialSource(Protocol):
    """Decides what is run, and hears what came of it."""

    def next_trial(self) -> TrialConfig | TrialRecord | None:
        """The next trial to run, or the record of one that need not be; None when nothing can be started now."""

    def judge_rung(self, config: TrialConfig, rung: int, validation_loss: float) -> bool:
        """Whether to end a running trial."""

    def judge(self, record: TrialRecord) -> TrialRecord:
        """Fill in what the worker could not know: the objective."""

    def take(self, record: TrialRecord) -> None:
        """Hear of a record that is on disk."""

    def put_back(self, config: TrialConfig) -> None:
        """Take back a trial that was interrupted."""


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial in a worker's hands."""

    config: TrialConfig
    started_at: datetime
    started: float
    """On the monotonic clock."""


class Dispatcher:
    """Hands trials to a pool and settles what comes back."""

    def __init__(
        self,
        pool: Pool,
        run: RunDirectory,
        *,
        data_for: Callable[[TrialConfig], PrepareData],
        tracker: TrialTracker | None,
        on_event: OnEvent,
    ) -> None:
        self._pool = pool
        self._run = run
        self._data_for = data_for
        self._tracker = tracker
        self._on_event = on_event
        self._running: dict[int, RunningTrial] = {}
        self._interruptions: dict[Path, int] = {}

    def prepare(self, request: PrepareData) -> Prepared:
        """Have a worker prepare the data. Raises the worker's InputError, or RunError where that failed."""
        self._pool.submit(request)
        while True:
            for report in self._pool.wait(WAIT_SECONDS):
                if isinstance(report.message, Prepared):
                    return report.message
                raise _error_of(report.message)

    def run(self, source: TrialSource) -> None:
        """Run all that the source gives. Raises InputError where a worker finds the user's input unusable."""
        while True:
            while self._pool.has_room and (trial := source.next_trial()) is not None:
                if isinstance(trial, TrialRecord):
                    write_config(self._run.directory_of(trial.config), trial.config)
                    self._settle(source, trial)
                else:
                    self._start(trial)
            if not self._running:
                return
            for report in self._pool.wait(WAIT_SECONDS):
                self._hear(source, report.job, report.message)

    def _start(self, config: TrialConfig) -> None:
        directory = self._run.directory_of(config)
        if directory.path.exists():
            # What an unfinished or outdated trial left.
            shutil.rmtree(directory.path)
        write_config(directory, config)
        note_test_opening(self._run, config, by="study")
        job = self._pool.submit(
            RunTrial(config, directory.path, self._data_for(config)), deadline_seconds=config.deadline_seconds
        )
        self._running[job] = RunningTrial(config, datetime.now(UTC), time.monotonic())
        self._on_event(TrialStarted(config))

    def _hear(self, source: TrialSource, job: int, message: Message) -> None:
        trial = self._running[job]
        match message:
            case Progressed(progress):
                self._on_event(TrialProgress(trial.config, progress.phase, progress.step, progress.steps or None))
            case RungReached(rung, loss):
                prune = source.judge_rung(trial.config, rung, loss)
                self._pool.reply(job, Verdict(prune))
                self._on_event(TrialRung(trial.config, rung, loss, prune))
            case Finished(record):
                del self._running[job]
                self._end(source, record)
            case Crashed(text, traceback):
                del self._running[job]
                self._settle(source, self._failed(trial, "error", text, traceback))
            case Died(kind, text):
                del self._running[job]
                self._settle(source, self._failed(trial, kind, text))
            case _:
                raise _error_of(message)

    def _end(self, source: TrialSource, record: TrialRecord) -> None:
        if record.failure is None or record.failure.kind != "interrupted":
            self._settle(source, source.judge(record))
            return
        path = self._run.directory_of(record.config).path
        self._interruptions[path] = self._interruptions.get(path, 0) + 1
        if self._interruptions[path] < INTERRUPTIONS:
            self._on_event(Notice(f"{path.name} was interrupted in its worker and is started again."))
            source.put_back(record.config)
        else:
            self._settle(source, record)

    def _failed(
        self, trial: RunningTrial, kind: FailureKind, message: str, traceback: str | None = None
    ) -> TrialRecord:
        return TrialRecord(
            config=trial.config,
            config_fingerprint=trial.config.fingerprint(),
            state="FAIL",
            failure=Failure(kind=kind, message=message, traceback=traceback),
            tokens=trained_tokens(self._run.directory_of(trial.config)),
            started_at=trial.started_at,
            seconds_total=time.monotonic() - trial.started,
        )

    def _settle(self, source: TrialSource, record: TrialRecord) -> None:
        directory = self._run.directory_of(record.config)
        write_record(directory, record)
        source.take(record)
        if self._tracker is not None:
            self._tracker.log(record, directory)
        self._on_event(TrialEnded(record))


def _error_of(message: Message) -> Exception:
    if isinstance(message, Refused):
        return INPUT_ERRORS.get(message.error, InputError)(message.message)
    if isinstance(message, Died):
        return RunError(message.message)
    if isinstance(message, Crashed):
        return RuntimeError(f"a worker raised an error that nobody expected.\n{message.traceback}")
    return RuntimeError(f"a worker sent {type(message).__name__} where it was not expected.")
