"""What the dispatcher makes of a pool's messages, with a pool that says what it is told to."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_runner import record, toy_study

from sweep.config import TrialConfig, configure
from sweep.protocol import Died, Finished, Message, PrepareData, Report, RunTogether, RunTrial
from sweep.record import TrialRecord
from sweep.store import RunDirectory
from sweep.study.dispatch import Dispatcher
from sweep.study.sources import ListSource


class DyingPool:
    """One worker, which ends in the middle of trials that it runs together and finishes what it runs alone."""

    def __init__(self, death: Died) -> None:
        self._death = death
        self._reports: deque[Report] = deque()
        self._jobs = 0
        self.requests: list[RunTrial | RunTogether] = []

    @property
    def has_room(self) -> bool:
        return not self._reports

    def submit(self, request: RunTrial, *, deadline_seconds: float | None = None) -> int:
        del deadline_seconds
        return self._answer(request, [Finished(record(request.config, value=1.0))])[0]

    def submit_together(self, request: RunTogether, *, deadline_seconds: float | None = None) -> Sequence[int]:
        del deadline_seconds
        return self._answer(request, [self._death] * len(request.trials))

    def wait(self, timeout_seconds: float) -> list[Report]:
        del timeout_seconds
        return [self._reports.popleft()] if self._reports else []

    def _answer(self, request: RunTrial | RunTogether, messages: list[Message]) -> list[int]:
        self.requests.append(request)
        jobs = list(range(self._jobs, self._jobs + len(messages)))
        self._jobs += len(messages)
        self._reports.extend(Report(job, message) for job, message in zip(jobs, messages, strict=True))
        return jobs


@pytest.mark.parametrize("kind", ["worker_died", "deadline"])
def test_whatever_ends_a_worker_costs_none_of_the_trials_that_it_ran_together(tmp_path: Path, kind: str) -> None:
    spec = toy_study()
    pool, run = DyingPool(Died(kind, "It ended.")), RunDirectory(tmp_path)
    configs = [configure(spec, "lora", {}, phase="confirm", number=n, seed=n, data_root=tmp_path) for n in (1, 2, 3)]

    def data_for(_: TrialConfig) -> PrepareData:
        return PrepareData(spec.model, spec.data, tmp_path, 64, tmp_path / "data", seed=0)

    dispatcher = Dispatcher(pool, run, data_for=data_for, tracker=None, on_event=lambda _: None, seats=lambda _: 3)
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))

    assert [isinstance(request, RunTogether) for request in pool.requests] == [True, False, False, False]
    records: list[TrialRecord] = run.confirm_records("lora")
    assert [(found.config.number, found.state) for found in records] == [(n, "COMPLETE") for n in (1, 2, 3)]
