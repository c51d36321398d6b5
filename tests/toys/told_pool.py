"""A pool without processes, which says what it is told to, and a dispatcher for it."""

from collections import deque
from collections.abc import Sequence

from toy_runner import record, toy_study

from sweep.config import TrialConfig
from sweep.events import OnEvent
from sweep.protocol import Finished, Message, PrepareData, Report, RunTogether, RunTrial
from sweep.store import RunDirectory
from sweep.study.dispatch import Dispatcher


class ToldPool:
    """One worker that answers each request as it is told, trial by trial."""

    def __init__(self, answers: Sequence[Message | None]) -> None:
        """None finishes all trials of a request; any other message is the answer for each."""
        self._answers = deque(answers)
        self._reports: deque[Report] = deque()
        self._jobs = 0
        self.requests: list[RunTrial | RunTogether] = []

    @property
    def has_room(self) -> bool:
        return not self._reports

    def submit(self, request: RunTrial, *, deadline_seconds: float | None = None) -> int:
        del deadline_seconds
        return self._answer(request, [request])[0]

    def submit_together(self, request: RunTogether, *, deadline_seconds: float | None = None) -> Sequence[int]:
        del deadline_seconds
        return self._answer(request, request.trials)

    def wait(self, timeout_seconds: float) -> list[Report]:
        del timeout_seconds
        return [self._reports.popleft()] if self._reports else []

    def _answer(self, request: RunTrial | RunTogether, trials: Sequence[RunTrial]) -> list[int]:
        self.requests.append(request)
        told = self._answers.popleft() if self._answers else None
        jobs = []
        for trial in trials:
            self._jobs += 1
            jobs.append(self._jobs)
            self._reports.append(Report(self._jobs, told or Finished(record(trial.config, value=1.0))))
        return jobs


def told_dispatcher(
    pool: object, run: RunDirectory, *, on_event: OnEvent = lambda _: None, seats: int = 1, **settings
) -> Dispatcher:
    """Dispatches the toy study's trials to such a pool, so many together."""
    spec = toy_study()

    def data_for(_: TrialConfig) -> PrepareData:
        return PrepareData(spec.model, spec.data, run.path, 64, run.path / "data", seed=0)

    return Dispatcher(pool, run, data_for=data_for, tracker=None, on_event=on_event, seats=lambda _: seats, **settings)
