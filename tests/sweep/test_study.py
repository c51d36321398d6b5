"""A study's phases in real worker processes: order, fairness, resuming after a kill, and what a run refuses."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
import psutil
import pytest
from toy_runner import RATE, ToyRunner, build_toy, toy_study

from sweep.config import TrialConfig
from sweep.errors import InputError, RunDirectoryError, RunError, StudyFailedError, TaskError
from sweep.events import DataReady, Event, Notice, PhaseStarted, SpaceExhausted, StudyEnded, TrialEnded, TrialRung
from sweep.record import TrialRecord
from sweep.resume import differences, locked
from sweep.spec import StudySpec
from sweep.store import RunDirectory, TrialDirectory
from sweep.study import Workers, run_study

SCRIPT = Path(__file__).parents[1] / "toys" / "run_toy_study.py"


class ToyTracker:
    """Remembers what it was told, and whether the record was on disk by then."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def start(self) -> None:
        self.heard.append("start")

    def log(self, record: TrialRecord, directory: TrialDirectory) -> None:
        assert directory.read_record() == record
        self.heard.append(name_of(record.config))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        self.heard.append(status)


@dataclass
class Lab:
    """A place to run toy studies in."""

    path: Path
    events: list[Event] = field(default_factory=list)
    tracker: ToyTracker = field(default_factory=ToyTracker)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path / "runs" / "toy")

    @property
    def calls(self) -> list[str]:
        """Trials that were really run, as `phase method/number`."""
        file = self.path / "calls"
        return [line.rpartition(" ")[0] for line in file.read_text().splitlines()] if file.exists() else []

    def start(self, spec: StudySpec, devices: tuple[str | None, ...] = (None,), **toy: object) -> list[Event]:
        self.events.clear()
        run_study(
            spec,
            run=self.run,
            data_root=self.path,
            cache=self.path,
            on_event=self.events.append,
            tracker=self.tracker,
            workers=Workers(partial(build_toy, ToyRunner(self.path / "calls", **toy)), devices),
        )
        return self.events

    def ended(self) -> list[TrialRecord]:
        return [event.record for event in self.events if isinstance(event, TrialEnded)]

    def optuna(self, method: str) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name=f"toy/{method}", storage=f"sqlite:///{self.run.optuna_db}").get_trials()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def name_of(config: TrialConfig) -> str:
    return f"{config.phase} {config.method}/{config.number}"


def random_study(**changes: object) -> StudySpec:
    return toy_study(**{"sampler": {"name": "random"}, **changes})


def test_a_study_runs_baseline_then_all_methods_in_turn_then_finalists(lab: Lab) -> None:
    events = lab.start(random_study())

    search = [f"search {method}/{number}" for number in range(3) for method in ("lora", "full")]
    expected = ["baseline None/0", *search, "confirm None/0", "confirm lora/1", "confirm full/1"]
    assert lab.calls == expected
    assert lab.tracker.heard == ["start", *expected, "FINISHED"]
    assert [event.phase for event in events if isinstance(event, PhaseStarted)] == ["baseline", "search", "confirm"]
    assert isinstance(events[0], PhaseStarted | DataReady)
    assert events[-1] == StudyEnded("toy")
    assert {trial.state.name for method in ("lora", "full") for trial in lab.optuna(method)} == {"COMPLETE"}


def test_finalists_are_each_methods_best_on_seeds_that_the_search_never_used(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 3, "confirm_seeds": 2}, seed=7)

    lab.start(spec)

    for method in spec.methods:
        best = min(lab.run.search_records(method), key=lambda trial: trial.objective)
        repetitions = lab.run.confirm_records(method)
        assert [trial.config.seed for trial in repetitions] == [1008, 1009]
        assert {tuple(trial.config.params.items()) for trial in repetitions} == {tuple(best.config.params.items())}
        assert {trial.config.split for trial in repetitions} == {"test"}
        assert {trial.config.seed for trial in lab.run.search_records(method)} == {7}


def test_a_finished_study_starts_no_worker(lab: Lab) -> None:
    lab.start(random_study())
    before = {path: path.stat().st_mtime_ns for path in lab.run.path.rglob("record.json")}
    calls = lab.calls

    events = lab.start(random_study())

    assert lab.calls == calls
    assert events == [StudyEnded("toy")]
    assert {path: path.stat().st_mtime_ns for path in lab.run.path.rglob("record.json")} == before


def test_two_workers_share_a_study(lab: Lab) -> None:
    lab.start(random_study(), devices=(None, None), seconds=0.2)

    counts = Counter(call.split()[0] for call in lab.calls)
    pids = {line.split()[-1] for line in (lab.path / "calls").read_text().splitlines()}
    assert counts == {"baseline": 1, "search": 6, "confirm": 3}
    assert len(pids) == 2


def test_rungs_reach_the_pruner_and_a_pruned_trial_is_told_as_pruned(lab: Lab) -> None:
    spec = toy_study(
        sampler={"name": "random"},
        pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0},
        budget={"trials_per_method": 6, "confirm_seeds": 0},
    )

    events = lab.start(spec)

    pruned = [event.config for event in events if isinstance(event, TrialRung) and event.pruned]
    states = {name_of(trial.config) for trial in lab.ended() if trial.state == "PRUNED"}
    told = {
        f"search {method}/{t.number}" for method in spec.methods for t in lab.optuna(method) if t.state.name == "PRUNED"
    }
    assert pruned
    assert {name_of(config) for config in pruned} == states == told


def test_a_repeated_config_is_copied_and_not_run(lab: Lab) -> None:
    spec = random_study(
        search_space={RATE: {"values": [1e-4, 1e-3]}}, budget={"trials_per_method": 5, "confirm_seeds": 1}
    )

    events = lab.start(spec)

    assert Counter(call.split("/")[0] for call in lab.calls if call.startswith("search")) == {
        "search lora": 2,
        "search full": 2,
    }
    exhausted = {event.method: event.trials for event in events if isinstance(event, SpaceExhausted)}
    assert exhausted == {"lora": 2, "full": 2}
    for method in spec.methods:
        records = lab.run.search_records(method)
        assert all(trial.objective == records[trial.reused_from].objective for trial in records if trial.reused_from)
    assert lab.start(spec) == [StudyEnded("toy")]


def test_a_killed_worker_costs_one_trial_and_the_study_goes_on(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 3, "confirm_seeds": 0}), dies=("lora/1",))

    failed = [trial for trial in lab.ended() if trial.state == "FAIL"]
    assert [name_of(trial.config) for trial in failed] == ["search lora/1"]
    assert failed[0].failure is not None
    assert failed[0].failure.kind == "worker_died"
    assert [trial.state.name for trial in lab.optuna("lora")] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert lab.calls.count("search lora/1") == 1


def test_a_repetition_whose_worker_died_is_run_again_by_the_next_run(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 1, "confirm_seeds": 1})
    lab.start(spec, dies=("lora/1",))
    assert lab.run.confirm_records("lora")[0].state == "FAIL"

    lab.start(spec)

    assert lab.run.confirm_records("lora")[0].state == "COMPLETE"
    assert Counter(lab.calls)["confirm lora/1"] == 2
    assert max(count for name, count in Counter(lab.calls).items() if name != "confirm lora/1") == 1


def test_a_bug_in_a_trial_is_recorded_with_its_traceback(lab: Lab) -> None:
    lab.start(random_study(), crashes=("full/0",))

    crashed = lab.run.search_records("full")[0]
    assert crashed.failure is not None
    assert crashed.failure.kind == "error"
    assert "nobody expected this" in (crashed.failure.traceback or "")


def test_a_trial_interrupted_in_its_worker_is_tried_again_and_then_given_up(lab: Lab) -> None:
    events = lab.start(random_study(), interrupted=("lora/0",))

    assert lab.calls.count("search lora/0") == 3
    assert sum(isinstance(event, Notice) for event in events) == 2
    assert {trial.state.name for trial in lab.optuna("lora")} == {"FAIL", "COMPLETE"}


def test_what_the_user_has_to_mend_is_raised_as_what_it_is(lab: Lab) -> None:
    with pytest.raises(TaskError, match="no such task here"):
        lab.start(random_study(), refuses=("lora/0",))

    assert lab.tracker.heard[-1] == "FAILED"


def test_an_objective_that_is_not_scored_is_named_before_any_trial(lab: Lab) -> None:
    with pytest.raises(RunError, match=r"own/loss was not scored\. Metrics there are: own/other\."):
        lab.start(random_study(), metric="own/other")

    assert lab.calls == ["baseline None/0"]


def test_a_base_model_that_could_not_be_scored_is_tried_again(lab: Lab) -> None:
    with pytest.raises(RunError, match="base model"):
        lab.start(random_study(), dies=("None/0",))

    lab.start(random_study())

    assert lab.run.baseline.read_record().state == "COMPLETE"


def test_a_method_without_a_complete_trial_is_reported_and_left_out(lab: Lab) -> None:
    events = lab.start(random_study(), crashes=("full/0", "full/1", "full/2"))

    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert re.search(r"^full: no trial completed \(3 error; last: ZeroDivisionError", notices[0])
    assert [call for call in lab.calls if call.startswith("confirm")] == ["confirm None/0", "confirm lora/1"]


def test_a_study_in_which_nothing_completed_has_failed(lab: Lab) -> None:
    with pytest.raises(StudyFailedError, match=r"no trial of any method completed.*out_of_memory.*\.$"):
        lab.start(random_study(), out_of_memory_above=0.0)


def test_more_budget_goes_on_where_the_study_ended(lab: Lab) -> None:
    lab.start(random_study())
    before = {name_of(record.config): record for record in lab.ended()}

    lab.start(random_study(budget={"trials_per_method": 4, "confirm_seeds": 2}))

    ran = [name_of(record.config) for record in lab.ended()]
    assert ran[:2] == ["search lora/3", "search full/3"]
    again = set(ran) & before.keys()
    finalists = {method: lab.run.confirm_records(method)[0].config.params for method in ("lora", "full")}
    assert all(before[name].config.params != finalists[name.split()[1].split("/")[0]] for name in again)
    assert lab.run.read_study().budget.trials_per_method == 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 1}, r"seed: 0 → 1"),
        ({"budget": {"trials_per_method": 2, "confirm_seeds": 1}}, r"budget.trials_per_method: 3 → 2"),
        ({"search_space": {RATE: {"min": 1e-5, "max": 1.0, "log": True}}}, r"training.learning_rate.max: 0.1 → 1.0"),
        ({"sampler": {"name": "tpe"}}, r'sampler.name: "random" → "tpe"'),
    ],
)
def test_a_changed_study_is_refused_key_by_key(lab: Lab, change: dict[str, object], complaint: str) -> None:
    if not lab.run.path.exists():
        lab.start(random_study(budget={"trials_per_method": 3, "confirm_seeds": 0}))
    calls = lab.calls

    with pytest.raises(RunDirectoryError, match=complaint):
        lab.start(random_study(**{"budget": {"trials_per_method": 3, "confirm_seeds": 0}, **change}))

    assert lab.calls == calls


def test_tracking_and_more_budget_may_change() -> None:
    old = random_study()
    new = random_study(budget={"trials_per_method": 9, "confirm_seeds": 2}, tracking={"mlflow": False})

    assert differences(old, new) == []
    assert len(differences(new, old)) == 2


def test_a_study_may_be_mended_until_the_base_model_is_scored(lab: Lab) -> None:
    with pytest.raises(TaskError):
        lab.start(random_study(), refuses=("None/0",))

    lab.start(random_study(seed=5, budget={"trials_per_method": 1, "confirm_seeds": 0}))

    assert lab.run.read_study().seed == 5


def test_changed_data_are_refused_by_split(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 0}))

    with pytest.raises(RunDirectoryError, match=r"data have changed since this study began: train\."):
        lab.start(random_study(budget={"trials_per_method": 2, "confirm_seeds": 0}), rows=9)


def test_a_second_driver_is_refused_with_the_firsts_number(lab: Lab) -> None:
    with (
        locked(lab.run),
        pytest.raises(RunDirectoryError, match=rf"in use by another `sweep run` \(process {os.getpid()}\)"),
    ):
        lab.start(random_study())


def test_a_space_that_cannot_be_searched_is_refused_before_anything_runs(lab: Lab) -> None:
    with pytest.raises(InputError, match="grid"):
        lab.start(random_study(sampler={"name": "grid"}))

    assert not lab.run.study_file.exists()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def driver(lab: Lab) -> Start:
    def start(seconds: float = 0.3, sampler: str = "tpe") -> "subprocess.Popen[str]":
        arguments = [str(lab.run.path), str(lab.path / "calls"), str(seconds), sampler]
        return subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True)

    return start


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def worker_pid(lab: Lab) -> int:
    return int((lab.path / "calls").read_text().splitlines()[-1].split()[-1])


def test_a_driver_killed_in_mid_search_leaves_no_worker_and_goes_on_where_it_was(
    lab: Lab, driver: Start, tmp_path: Path
) -> None:
    first = driver()
    wait_for(lambda: len(lab.calls) >= 4)
    pid = worker_pid(lab)
    first.kill()
    first.communicate()
    wait_for(lambda: not psutil.pid_exists(pid), 10)
    kept = {path: path.read_bytes() for path in lab.run.path.rglob("record.json")}
    ran = lab.calls

    second = driver(0.0)
    second.communicate(timeout=60)
    straight = Lab(tmp_path / "straight")
    straight.path.mkdir()
    straight.start(toy_study(sampler={"name": "tpe", "n_startup_trials": 2}))

    assert second.returncode == 0
    assert len(kept) >= 3
    assert {path: path.read_bytes() for path in kept} == kept
    assert [name for name, count in Counter(lab.calls).items() if count > 1] in ([ran[-1]], [])
    for method in ("lora", "full"):
        pairs = zip(lab.run.search_records(method), straight.run.search_records(method), strict=True)
        assert all(record.config.params == other.config.params for record, other in pairs)
        assert {trial.state.name for trial in lab.optuna(method)} == {"COMPLETE"}


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_told_to_stop_ends_its_worker_and_writes_no_record_of_it(
    lab: Lab, driver: Start, stop: signal.Signals
) -> None:
    process = driver(seconds=30)
    wait_for(lambda: len(lab.calls) >= 1)
    pid = worker_pid(lab)

    process.send_signal(stop)

    assert process.wait(9) == 130
    process.communicate()
    assert not psutil.pid_exists(pid)
    assert not lab.run.baseline.record.exists()
