"""What the dispatcher makes of a pool's messages, with a pool that says what it is told to."""

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from told_pool import ToldPool, told_dispatcher
from toy_runner import record, toy_study

from sweep.config import configure
from sweep.errors import StorageLostError
from sweep.events import Event, Notice, TrialProgress
from sweep.progress import Progress
from sweep.protocol import Died, Finished, Message, Progressed, Report, RunTogether, RunTrial
from sweep.record import TrialRecord
from sweep.store import RunDirectory, TrialDirectory
from sweep.study.sources import ListSource


@pytest.mark.parametrize("kind", ["worker_died", "deadline"])
def test_whatever_ends_a_worker_costs_none_of_the_trials_that_it_ran_together(tmp_path: Path, kind: str) -> None:
    spec = toy_study()
    pool, run = ToldPool([Died(kind, "It ended.")]), RunDirectory(tmp_path)
    configs = [configure(spec, "lora", {}, phase="confirm", number=n, seed=n, data_root=tmp_path) for n in (1, 2, 3)]

    dispatcher = told_dispatcher(pool, run, seats=3)
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))

    assert [isinstance(request, RunTogether) for request in pool.requests] == [True, False, False, False]
    records: list[TrialRecord] = run.confirm_records("lora")
    assert [(found.config.number, found.state) for found in records] == [(n, "COMPLETE") for n in (1, 2, 3)]


class KilledPool:
    """One worker that runs trials alone and is killed so many times; before that it may save a trial's state."""

    def __init__(self, deaths: Sequence[bool]) -> None:
        """For each death, whether a state was saved before it."""
        self._deaths = list(deaths)
        self._reports: deque[Report] = deque()
        self.requests: list[RunTrial] = []
        self.found: list[list[str]] = []
        """What lay in the directory of each trial when it was handed out."""

    @property
    def has_room(self) -> bool:
        return not self._reports

    def submit(self, request: RunTrial, *, deadline_seconds: float | None = None) -> int:
        del deadline_seconds
        directory = TrialDirectory(request.directory)
        self.found.append(sorted(path.name for path in directory.path.iterdir()))
        self.requests.append(request)
        message: Message = Finished(record(request.config, value=1.0))
        if self._deaths:
            message = Died("worker_died", "It was killed.")
            (directory.path / "eval").mkdir(exist_ok=True)
            directory.steps.write_text("{}")
            if self._deaths.pop(0):
                # A new file each time, as the keeper writes it.
                directory.training_state.unlink(missing_ok=True)
                directory.training_state.write_text(f"state {len(self.requests)}")
                os.utime(directory.training_state, ns=(0, len(self.requests)))
        self._reports.append(Report(len(self.requests), message))
        return len(self.requests)

    def wait(self, timeout_seconds: float) -> list[Report]:
        del timeout_seconds
        return [self._reports.popleft()] if self._reports else []


def dispatched(tmp_path: Path, pool: KilledPool) -> tuple[TrialRecord, TrialDirectory, list[Event]]:
    """What comes of one trial in such a pool."""
    spec, run, events = toy_study(), RunDirectory(tmp_path), []
    config = configure(spec, "lora", {}, phase="confirm", number=1, seed=1, data_root=tmp_path)

    dispatcher = told_dispatcher(pool, run, on_event=events.append, save_seconds=30.0)
    dispatcher.run(ListSource([config], spec.objective, needs_objective=False, key=lambda _: None))
    (found,) = run.confirm_records("lora")
    return found, run.directory_of(config), events


def test_a_trial_goes_on_as_long_as_it_gets_further_before_its_worker_dies(tmp_path: Path) -> None:
    pool = KilledPool([True, True, True, True])

    found, directory, events = dispatched(tmp_path, pool)

    assert found.state == "COMPLETE"
    assert {request.save_seconds for request in pool.requests} == {30.0}
    # What it goes on from stays; what else an earlier start left does not.
    assert pool.found == [["config.yaml"], *[["config.yaml", "steps.jsonl", "training-state.safetensors"]] * 4]
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert notices == ["lora 1 goes on from its last training state: It was killed."] * 4
    assert not directory.training_state.exists()


@pytest.mark.parametrize(("deaths", "runs"), [([False, False], 2), ([True, False, False], 3)])
def test_a_trial_that_gets_no_further_in_two_workers_that_die_has_failed(
    tmp_path: Path, deaths: list[bool], runs: int
) -> None:
    pool = KilledPool(deaths)

    found, directory, _ = dispatched(tmp_path, pool)

    assert len(pool.requests) == runs
    assert found.failure is not None
    assert found.failure.kind == "worker_died"
    assert not directory.training_state.exists()


def test_one_death_without_getting_further_is_not_held_against_a_trial(tmp_path: Path) -> None:
    found, _, events = dispatched(tmp_path, KilledPool([False, True, False]))

    assert found.state == "COMPLETE"
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert notices == [
        "lora 1 is started again: It was killed.",
        *["lora 1 goes on from its last training state: It was killed."] * 2,
    ]


def test_what_a_worker_notes_about_a_trial_is_told_to_whoever_watches(tmp_path: Path) -> None:
    pool = KilledPool([])
    pool._reports.append(Report(1, Progressed(Progress("load", 0, 0, None, note="It goes on after step 3."))))

    class Late(KilledPool):
        has_room = True

    pool.__class__ = Late
    _, _, events = dispatched(tmp_path, pool)

    assert [event.message for event in events if isinstance(event, Notice)] == ["lora 1: It goes on after step 3."]
    assert not any(isinstance(event, TrialProgress) for event in events)


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
        told_dispatcher(ManyWorkers(), run, seats=1).run(source)

    assert [(found.config.number, found.objective) for found in run.search_records("lora")] == [
        (0, 1.0),
        (1, 1.0),
        (2, 1.0),
    ]
