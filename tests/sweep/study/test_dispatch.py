"""What the dispatcher makes of a pool's messages, with a pool that says what it is told to."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_runner import record, toy_study

from sweep.config import TrialConfig, configure
from sweep.errors import StorageLostError
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


def build_dispatcher(pool: object, run: RunDirectory, seats: int) -> Dispatcher:
    spec = toy_study()

    def data_for(_: TrialConfig) -> PrepareData:
        return PrepareData(spec.model, spec.data, run.path, 64, run.path / "data", seed=0)

    return Dispatcher(pool, run, data_for=data_for, tracker=None, on_event=lambda _: None, seats=lambda _: seats)


@pytest.mark.parametrize("kind", ["worker_died", "deadline"])
def test_whatever_ends_a_worker_costs_none_of_the_trials_that_it_ran_together(tmp_path: Path, kind: str) -> None:
    spec = toy_study()
    pool, run = DyingPool(Died(kind, "It ended.")), RunDirectory(tmp_path)
    configs = [configure(spec, "lora", {}, phase="confirm", number=n, seed=n, data_root=tmp_path) for n in (1, 2, 3)]

    dispatcher = build_dispatcher(pool, run, seats=3)
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))

    assert [isinstance(request, RunTogether) for request in pool.requests] == [True, False, False, False]
    records: list[TrialRecord] = run.confirm_records("lora")
    assert [(found.config.number, found.state) for found in records] == [(n, "COMPLETE") for n in (1, 2, 3)]


class ManyWorkers:
    """Workers that have all ended by the time the driver looks: two are heard of at once, one a little later."""

    def __init__(self) -> None:
        self._reports: list[Report] = []

    @property
    def has_room(self) -> bool:
        return len(self._reports) < 3

    def submit(self, request: RunTrial, *, deadline_seconds: float | None = None) -> int:
        del deadline_seconds
        self._reports.append(Report(len(self._reports), Finished(record(request.config, value=1.0))))
        return len(self._reports) - 1

    def wait(self, timeout_seconds: float) -> list[Report]:
        count = 2 if timeout_seconds > 0 else 1
        reports, self._reports = self._reports[:count], self._reports[count:]
        return reports


class ForgetfulSource(ListSource):
    """A search whose storage has gone."""

    def take(self, record: TrialRecord) -> None:
        del record
        raise StorageLostError("storage: it stayed away.")


def test_trials_that_ended_while_a_storage_was_away_are_on_disk_before_the_study_ends(tmp_path: Path) -> None:
    spec, run = toy_study(), RunDirectory(tmp_path)
    configs = [configure(spec, "lora", {}, phase="search", number=n, seed=n, data_root=tmp_path) for n in range(4)]
    source = ForgetfulSource(configs, spec.objective, needs_objective=True)

    with pytest.raises(StorageLostError):
        build_dispatcher(ManyWorkers(), run, seats=1).run(source)

    assert [(found.config.number, found.objective) for found in run.search_records("lora")] == [
        (0, 1.0),
        (1, 1.0),
        (2, 1.0),
    ]
