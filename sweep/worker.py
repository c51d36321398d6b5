"""One worker process on one device: it answers the driver's requests one after another and keeps nothing of theirs.

Nothing here imports torch until the runner does. The process never outlives its driver: a thread waits for the end of
a pipe of which only the driver holds the other side, and the kernel closes that even for a driver that was killed.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import InputError
from sweep.piped import PipedFloor, ask, crash_of
from sweep.progress import Progress
from sweep.protocol import (
    Answer,
    Emptied,
    Finished,
    Floor,
    Prepared,
    PrepareData,
    Progressed,
    Ready,
    Refused,
    Request,
    RungReached,
    Runner,
    RunTogether,
    RunTrial,
)
from sweep.record import TrialRecord
from sweep.secrets import hide_secrets
from sweep.stopping import Ending, Stop
from sweep.store import TrialDirectory

if TYPE_CHECKING:
    from evals.spec import TaskSpec
    from evals.tasks.library import LoadedTask, TaskLibrary
    from sweep.data.prepare import PreparedData
    from sweep.shape import Facts
    from sweep.together.bases import Bases


class TrialRunner:
    """The real work: prepares data, trains and scores."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._last: tuple[PrepareData, PreparedData] | None = None
        self._library: TaskLibrary | None = None
        self._bases: Bases | None = None
        self._stop = Stop()

    def ask_to_stop(self) -> bool:
        """Have the trials that are being trained save their state and end; gives whether there is any."""
        return self._stop.ask()

    def prepare(self, request: PrepareData) -> Prepared:
        """Prepare the user's rows, or find them prepared."""
        from sweep.environment import describe

        began = time.monotonic()
        prepared = self._prepared(request)
        self._load_tasks(request)
        return Prepared(
            facts=self._facts(request, prepared),
            rows=dict(prepared.rows),
            sha256={**prepared.sha256, **self._text_sha256(request)},
            dropped=tuple(str(row) for row in prepared.dropped),
            environment=describe(ask_gpu=True),
            seconds=time.monotonic() - began,
        )

    def run(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        """Train and score one trial, or only score the base model."""
        from sweep.continuing import IN_A_LANE, way_of
        from sweep.together.one import OneSeat

        changed = request.easing is not None and request.easing.changes_training
        if request.save_seconds is not None and not changed and way_of(TrialDirectory(request.directory)) == IN_A_LANE:
            floor = OneSeat(on_rung, on_progress)
            self.run_together(RunTogether((request,), seats=1), floor)
            assert floor.record is not None  # noqa: S101
            return floor.record
        return self._run_alone(request, on_rung=on_rung, on_progress=on_progress)

    def _run_alone(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        from evals.models.load import default_device
        from sweep.continuing import Saving
        from sweep.trial import run_trial

        if self._bases is not None:
            # What this trial needs is not known; it gets all the memory there is.
            self._bases.release()
        began = time.monotonic()
        prepared = self._prepared(request.data)
        return run_trial(
            request.config,
            TrialDirectory(request.directory),
            prepared,
            data_seconds=time.monotonic() - began,
            cache=self._cache,
            device=default_device(),
            library=self._tasks(),
            on_rung=on_rung,
            on_progress=on_progress,
            saving=None if request.save_seconds is None else Saving(request.save_seconds, self._stop),
            easing=request.easing,
        )

    def run_together(self, request: RunTogether, floor: Floor) -> None:
        """Train trials in lanes over one resident base model, and score those that finish together.

        Where the base model does not suit lanes, they are run one after another.
        """
        from evals.models.load import default_device
        from sweep.together.wave import Wave
        from sweep.training.lanes.fitness import LanesUnfitError

        began = time.monotonic()
        prepared = self._prepared(request.trials[0].data)
        wave = Wave(
            floor,
            seats=request.seats,
            prepared=prepared,
            data_seconds=time.monotonic() - began,
            bases=self._resident(),
            device=default_device(),
            library=self._tasks(),
            stop=self._stop,
        )
        try:
            wave.run(request.trials)
        except LanesUnfitError as error:
            print(f"Trials are run one after another, because lanes do not suit this model: {error}")  # noqa: T201 - goes to the worker's log
            self._run_in_turn(request.trials, floor)

    def _run_in_turn(self, trials: Sequence[RunTrial], floor: Floor) -> None:
        for place, trial in enumerate(trials):
            record = self._run_alone(
                trial, on_rung=partial(floor.on_rung, place), on_progress=partial(floor.on_progress, place)
            )
            floor.finished(place, record)

    def _resident(self) -> "Bases":
        """Base models that stay between requests."""
        from sweep.together.bases import Bases

        if self._bases is None:
            self._bases = Bases(self._cache)
        return self._bases

    def _text_sha256(self, request: PrepareData) -> dict[str, str]:
        """Fingerprint of the text for `general_text`: a study that goes on must not read another one."""
        from evals.spec import GENERAL_TEXT
        from evals.tasks.paragraphs import text_sha256

        asked = any(task.task == GENERAL_TEXT for task in (*request.search_tasks, *request.confirm_tasks))
        return {GENERAL_TEXT: text_sha256(request.scoring.general_text)} if asked else {}

    def _facts(self, request: PrepareData, prepared: "PreparedData") -> "Facts":
        from evals.models.load import default_device
        from sweep.plan.inspect import device_of, inspect_if_known
        from sweep.plan.lengths import row_lengths
        from sweep.shape import Facts

        shape = inspect_if_known(request.model, cache=self._cache)
        return Facts(shape, device_of(default_device()), row_lengths(prepared))

    def _tasks(self) -> "TaskLibrary":
        """Indexing thousands of tasks and loading a benchmark takes longer than a small trial: once for all of them."""
        from evals.tasks.library import TaskLibrary

        if self._library is None:
            self._library = TaskLibrary()
        return self._library

    def _load_tasks(self, request: PrepareData) -> None:
        """Load every benchmark, so that one that is out of reach is refused before anything is spent.

        So is a study that would report on items that it chose by.
        """
        from evals.harness import load_tasks
        from evals.spec import RENDERED_TASKS
        from evals.tasks.portions import places, refuse_shared_items

        def load(tasks: "Sequence[TaskSpec]") -> "list[LoadedTask]":
            asked = [task for task in tasks if task.task not in RENDERED_TASKS]
            return load_tasks(asked, request.scoring, own=None, library=self._tasks()) if asked else []

        search, confirm = load(request.search_tasks), load(request.confirm_tasks)
        refuse_shared_items(search, confirm)
        for task in (*search, *confirm):
            # A task that cannot be divided is refused here too.
            places(task)

    def _prepared(self, request: PrepareData) -> "PreparedData":
        from sweep.data.for_model import prepare_for

        if self._last is None or self._last[0] != request:
            prepared = prepare_for(
                request.model,
                request.data,
                data_root=request.data_root,
                max_length=request.max_length,
                directory=request.directory,
                seed=request.seed,
                cache=self._cache,
                hub=request.hub,
            )
            self._last = (request, prepared)
        return self._last[1]


def serve(  # noqa: PLR0913
    requests: Connection,
    lifeline: Connection,
    *,
    output: Connection,
    device: str | None,
    build_runner: Callable[[], Runner],
    threads: int | None = None,
) -> None:
    """Answer requests until the driver hangs up.

    What this process prints goes to `output`. `device` is what CUDA_VISIBLE_DEVICES becomes, and `threads` how many it
    computes with; None leaves them.
    """
    # Ctrl-C in a terminal, and its end, reach every process of the group; only the driver decides what they mean.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _print_to(output)
    ending = Ending()
    threading.Thread(target=ending.with_driver, args=(lifeline,), daemon=True).start()
    # A machine that is taken back often says so to every process by itself.
    signal.signal(signal.SIGTERM, ending.by_signal)
    for name, value in (("CUDA_VISIBLE_DEVICES", device), ("OMP_NUM_THREADS", threads)):
        if value is not None:
            # It is read when torch is first imported, which has not happened yet.
            os.environ[name] = str(value)
    runner = build_runner()
    ending.heed(runner.ask_to_stop)
    requests.send(Ready(os.getpid()))
    while True:
        try:
            request: Request = requests.recv()
        except EOFError:
            return
        try:
            reply = answer(runner, request, requests, is_asked_to_end=lambda: ending.is_asked)
        except KeyboardInterrupt:
            ending.now()
        if ending.is_asked:
            # Whoever asked has no use for an answer, and must not take this process for one that can go on.
            ending.now()
        requests.send(reply)


def answer(
    runner: Runner, request: Request, driver: Connection, *, is_asked_to_end: Callable[[], bool] = lambda: False
) -> Answer | Emptied:
    """Do what is asked; a bug becomes an answer too. Raises KeyboardInterrupt where it was asked to end meanwhile."""
    try:
        if isinstance(request, PrepareData):
            return runner.prepare(request)
        if isinstance(request, RunTogether):
            runner.run_together(request, PipedFloor(driver, is_asked_to_end))
            return Emptied()
        return Finished(
            runner.run(
                request,
                on_rung=lambda rung, loss: ask(driver, RungReached(rung, loss), is_asked_to_end),
                on_progress=lambda progress: driver.send(Progressed(progress)),
            )
        )
    except InputError as error:
        return Refused(type(error).__name__, hide_secrets(str(error), os.environ))
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
        return crash_of(error)


def _print_to(output: Connection) -> None:
    """Send all that this process and its libraries print, in Python or below, through a pipe."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output.fileno(), stream.fileno())
    output.close()
