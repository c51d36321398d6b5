"""Run trials through a pool until a source has no more.

The order in which an outcome becomes known is decided here, once: the record is written, then the source (and through
it Optuna) is told, then tracking, then whoever watches. A driver killed between two of these finds out from the record.
"""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator

from sweep.config import TrialConfig
from sweep.disk import Place, disk_error
from sweep.easing import described
from sweep.errors import DiskError, StorageLostError
from sweep.events import Notice, OnEvent, TrialEnded, TrialProgress, TrialRung, TrialStarted
from sweep.openings import note_test_opening
from sweep.progress import Progress
from sweep.protocol import (
    Crashed,
    Died,
    Finished,
    LossTaken,
    Message,
    Pool,
    Prepared,
    PrepareData,
    Progressed,
    Report,
    RungReached,
    RunTogether,
    RunTrial,
    SeatsFree,
    Verdict,
)
from sweep.record import TrialRecord
from sweep.store import RunDirectory, TrialDirectory, write_config, write_record
from sweep.study.chances import FUTILE_DEATHS, Chances
from sweep.study.easings import Easings, explained
from sweep.study.running import RunningTrial, deadline_of, error_of, saved_at
from sweep.study.seams import TrialSource, TrialTracker

WAIT_SECONDS = 60.0


Seats = Callable[[TrialConfig], int]
"""How many trials like this one may be run together; 1 where it is run alone."""


class Dispatcher:
    """Hands trials to a pool and settles what comes back."""

    def __init__(  # noqa: PLR0913
        self,
        pool: Pool,
        run: RunDirectory,
        *,
        data_for: Callable[[TrialConfig], PrepareData],
        tracker: TrialTracker | None,
        on_event: OnEvent,
        seats: Seats = lambda _: 1,
        save_seconds: float | None = None,
        memory: Callable[[TrialConfig], float | None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._run = run
        self._data_for = data_for
        self._tracker = tracker
        self._on_event = on_event
        self._running: dict[int, RunningTrial] = {}
        self._chances = Chances()
        self._seats = seats
        self._save_seconds = save_seconds
        self._memory = memory
        self._groups: dict[int, RunningTrial] = {}
        self._easings = Easings(run)
        self._again: deque[TrialConfig] = deque()
        """Trials that ran out of memory while others go on beside them; they come first."""
        self._place = Place(run.path)
        self._unheard: deque[Report] = deque()

    def prepare(self, request: PrepareData) -> Prepared:
        """Have a worker prepare the data. Raises the worker's InputError, or RunError where that failed."""
        self._pool.submit(request)
        deaths = 0
        while True:
            for report in self._pool.wait(WAIT_SECONDS):
                if isinstance(report.message, Prepared):
                    return report.message
                deaths += isinstance(report.message, Died)
                if not isinstance(report.message, Died) or deaths == FUTILE_DEATHS:
                    raise error_of(report.message, self._run.path)
                self._on_event(Notice(f"The data are prepared once more: {report.message.message}"))
                self._pool.submit(request)

    def run(self, source: TrialSource) -> None:
        """Run all that the source gives. Raises InputError where a worker finds the user's input unusable."""
        try:
            self._run_all(source)
        except (StorageLostError, DiskError):
            self._save_ended(source)
            raise

    def _run_all(self, source: TrialSource) -> None:
        while True:
            while self._pool.has_room and (config := self._again.popleft() if self._again else self._next(source)):
                self._start(source, config)
            if not self._running and self._pool.has_room:
                return
            # Without a running trial a worker has yet to say that all of those it ran together have ended.
            self._unheard.extend(self._pool.wait(WAIT_SECONDS))
            while self._unheard and (report := self._unheard.popleft()):
                self._hear(source, report.job, report.message)

    def _save_ended(self, source: TrialSource) -> None:
        """Write the records of trials that ended while nobody listened; the next run tells of them."""
        for report in (*self._unheard, *self._pool.wait(0)):
            if isinstance(report.message, Finished) and report.message.record.failure is None:
                record = self._running[report.job].eased(source.judge(report.message.record))
                with contextlib.suppress(OSError):  # Where there is no room for it, the trial is run again.
                    write_record(self._run.directory_of(record.config), record)

    def _next(
        self, source: TrialSource, beside: TrialConfig | None = None, *, refill: bool = False
    ) -> TrialConfig | None:
        """The next trial that has to be run; what need not be is settled on the way."""
        while isinstance(trial := source.next_trial(beside, refill=refill), TrialRecord):
            write_config(self._run.directory_of(trial.config), trial.config)
            self._settle(source, trial)
        return trial

    def _start(self, source: TrialSource, config: TrialConfig) -> None:
        seats = int(min(self._seats(config), self._most_seats(config)))
        if seats == 1:
            request = self._hand_out(config)
            job = self._pool.submit(request, deadline_seconds=config.deadline_seconds)
            self._note_start(job, request, 1)
            return
        configs = [config, *self._company(source, config, seats - 1, seats)]
        together = RunTogether(tuple(self._hand_out(one) for one in configs), seats)
        jobs = self._pool.submit_together(together, deadline_seconds=deadline_of(configs, seats))
        for job, request in zip(jobs, together.trials, strict=True):
            self._note_start(job, request, seats)
        self._groups[jobs[0]] = self._running[jobs[0]]

    def _most_seats(self, config: TrialConfig) -> float:
        """As many as went well; infinity where none went wrong."""
        if self._chances.runs_alone(self._run.directory_of(config)):
            return 1
        easing = self._easings.of(config)
        return math.inf if easing is None or easing.lanes is None else easing.lanes

    def _company(
        self, source: TrialSource, config: TrialConfig, count: int, seats: int, *, refill: bool = False
    ) -> Iterator[TrialConfig]:
        """Trials to run together with one, at most so many; on so many seats they have to fit."""
        for _ in range(count):
            other = self._next(source, config, refill=refill)
            if other is None:
                return
            if self._most_seats(other) < seats:
                source.put_back(other)
                return
            yield other

    def _fill(self, source: TrialSource, job: int, count: int) -> None:
        """Give a worker's free seats to the next trials."""
        group = self._groups[job]
        configs = list(self._company(source, group.config, count, group.together, refill=True))
        trials = [self._hand_out(one) for one in configs]
        jobs = self._pool.seat(job, trials, deadline_seconds=deadline_of(configs, group.together))
        for one in configs[len(jobs) :]:
            source.put_back(one)
        for new, request in zip(jobs, trials, strict=False):
            self._note_start(new, request, group.together)

    def _hand_out(self, config: TrialConfig) -> RunTrial:
        self._place.refuse_gone()
        directory = self._run.directory_of(config)
        directory.clear()
        self._chances.begin(directory)
        write_config(directory, config)
        easing = self._easings.hand_out(config, directory)
        note_test_opening(self._run, config, by="study")
        data, memory = self._data_for(config), self._memory(config)
        return RunTrial(config, directory.path, data, self._save_seconds, easing, memory_bytes=memory)

    def _note_start(self, job: int, request: RunTrial, together: int) -> None:
        directory = TrialDirectory(request.directory)
        self._running[job] = RunningTrial(request.config, directory, together, easing=request.easing)
        self._on_event(TrialStarted(request.config))

    def _hear(self, source: TrialSource, job: int, message: Message) -> None:
        if isinstance(message, SeatsFree):
            self._fill(source, job, message.count)
            return
        trial = self._running[job]
        match message:
            case Progressed(progress):
                self._show(trial, progress)
            case LossTaken(rung, loss):
                source.note_loss(trial.config, rung, loss)
            case RungReached(rung, loss):
                prune = source.judge_rung(trial.config, rung, loss)
                self._pool.reply(job, Verdict(prune))
                self._on_event(TrialRung(trial.config, rung, loss, prune))
            case Finished(record):
                del self._running[job]
                self._end(source, trial, trial.eased(record))
            case Crashed(text, _, "out_of_memory") | Died("out_of_memory", text):
                del self._running[job]
                self._ease(source, trial, trial.failed("out_of_memory", text), is_whole_worker=True)
            case Crashed(text, traceback):
                del self._running[job]
                self._settle(source, trial.failed("error", text, traceback))
            case Died("lost", text):
                del self._running[job]
                self._start_again(source, trial.failed("worker_died", text), f"is given to another worker: {text}")
            case Died(_, text) if trial.together > 1:
                del self._running[job]
                self._chances.bereave(trial.directory)
                self._on_event(Notice(f"{trial.name} is started again, by itself: {text}"))
                source.put_back(trial.config)
            case Died("worker_died", text) if self._chances.bury(trial):
                del self._running[job]
                saved = saved_at(trial.directory)
                again = "is started again" if saved is None else "goes on from its last training state"
                self._on_event(Notice(f"{trial.name} {again}: {text}"))
                source.put_back(trial.config)
            case Died(("worker_died" | "deadline") as kind, text):
                del self._running[job]
                self._settle(source, trial.failed(kind, text))
            case _:
                raise error_of(message, self._run.path)

    def _show(self, trial: RunningTrial, progress: Progress) -> None:
        if progress.note:
            self._on_event(Notice(f"{trial.name}: {progress.note}"))
            return
        trial.is_scored = progress.phase == "score"
        self._on_event(TrialProgress(trial.config, progress.phase, progress.step, progress.steps or None))

    def _ease(self, source: TrialSource, trial: RunningTrial, record: TrialRecord, *, is_whole_worker: bool) -> None:
        """Memory ran out: start the trial again with less, or end it where there is no less."""
        lowered = self._easings.lower(trial, record, is_whole_worker=is_whole_worker)
        if lowered is None:
            self._settle(source, explained(trial, record))
            return
        trained = described(lowered, trial.config)
        self._on_event(Notice(f"{trial.name} ran out of memory and is started again: {trained}."))
        (source.put_back if is_whole_worker else self._again.append)(trial.config)

    def _end(self, source: TrialSource, trial: RunningTrial, record: TrialRecord) -> None:
        if record.failure is not None and record.failure.kind == "disk":
            # It says nothing about the trial, which the next run of the study goes on with.
            raise disk_error(self._run.path, record.failure.message)
        if record.failure is not None and record.failure.kind == "out_of_memory":
            self._ease(source, trial, record, is_whole_worker=False)
            return
        if record.failure is None or record.failure.kind != "interrupted":
            self._settle(source, source.judge(record))
            return
        self._start_again(source, record, "was interrupted in its worker and is started again.")

    def _start_again(self, source: TrialSource, record: TrialRecord, how: str) -> None:
        """Put a trial back whose end says nothing of it; where that happened too often, it ends with this record."""
        directory = self._run.directory_of(record.config)
        if self._chances.interrupt(directory):
            self._on_event(Notice(f"{directory.path.name} {how}"))
            source.put_back(record.config)
        else:
            self._settle(source, record)

    def _settle(self, source: TrialSource, record: TrialRecord) -> None:
        self._place.refuse_gone()
        directory = self._run.directory_of(record.config)
        write_record(directory, record)
        source.take(record)
        if self._tracker is not None:
            self._tracker.log(record, directory)
        self._on_event(TrialEnded(record))
