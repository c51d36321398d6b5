"""A worker that is lost with its machine says nothing about its trials: they are given to others, but not for ever."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_runner import record, toy_study

from sweep.config import TrialConfig, configure
from sweep.events import Event, Notice
from sweep.protocol import Died, Finished, PrepareData, Report, RunTogether, RunTrial
from sweep.store import RunDirectory
from sweep.study.dispatch import Dispatcher
from sweep.study.sources import ListSource


class LosingPool:
    """Loses so many requests with their workers, then answers."""

    def __init__(self, losses: int) -> None:
        self._losses = losses
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
        is_lost = len(self.requests) <= self._losses
        jobs = list(range(self._jobs, self._jobs + len(trials)))
        self._jobs += len(trials)
        for job, trial in zip(jobs, trials, strict=True):
            answer = Finished(record(trial.config, value=1.0))
            self._reports.append(Report(job, Died("lost", "Its node is gone.") if is_lost else answer))
        return jobs


@pytest.mark.parametrize("seats", [1, 2])
@pytest.mark.parametrize(("losses", "state"), [(2, "COMPLETE"), (3, "FAIL")])
def test_a_trial_that_is_lost_is_given_to_another_worker_twice(
    tmp_path: Path, losses: int, state: str, seats: int
) -> None:
    spec, run, events = toy_study(), RunDirectory(tmp_path), list[Event]()
    pool = LosingPool(losses)
    configs = [
        configure(spec, "lora", {}, phase="confirm", number=n, seed=n, data_root=tmp_path) for n in range(1, seats + 1)
    ]

    def data_for(_: TrialConfig) -> PrepareData:
        return PrepareData(spec.model, spec.data, run.path, 64, run.path / "data", seed=0)

    dispatcher = Dispatcher(
        pool,
        run,
        data_for=data_for,
        tracker=None,
        on_event=events.append,
        seats=lambda _: seats,
        memory=lambda config: 100.0 * config.number,
    )
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))

    records = run.confirm_records("lora")
    assert [found.state for found in records] == [state] * seats
    assert len(pool.requests) == min(losses, 2) + 1
    notices = sorted(event.message for event in events if isinstance(event, Notice))
    told = [f"seed-{n} is given to another worker: Its node is gone." for n in range(1, seats + 1)]
    assert notices == sorted(told * 2)
    if state == "FAIL":
        assert {found.failure.kind for found in records} == {"worker_died"}
    first = pool.requests[0]
    asked = first.trials if isinstance(first, RunTogether) else (first,)
    assert [trial.memory_bytes for trial in asked] == [100.0 * n for n in range(1, seats + 1)]
