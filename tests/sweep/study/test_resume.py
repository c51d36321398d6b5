"""Going on with a run: after a kill, with more budget, and what is refused."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from lab import Lab, name_of, random_study
from toy_runner import RATE, toy_study

from sweep.errors import RunDirectoryError, TaskError
from sweep.study.lease import leased
from sweep.study.resume import differences

SCRIPT = Path(__file__).parents[2] / "toys" / "run_toy_study.py"


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


def test_a_changed_study_is_refused_key_by_key(lab: Lab) -> None:
    budget = {"trials_per_method": 2, "confirm_seeds": 0}
    lab.start(random_study(budget=budget))
    calls = lab.calls
    changes: dict[str, dict[str, object]] = {
        r"seed: 0 → 1": {"seed": 1},
        r"budget.trials_per_method: 2 → 1": {"budget": {**budget, "trials_per_method": 1}},
        r"training.learning_rate.max: 0.1 → 1.0": {"search_space": {RATE: {"min": 1e-5, "max": 1.0, "log": True}}},
        r'sampler.name: "random" → "tpe"': {"sampler": {"name": "tpe"}},
    }

    for complaint, change in changes.items():
        with pytest.raises(RunDirectoryError, match=complaint):
            lab.start(random_study(**{"budget": budget, **change}))

    assert lab.calls == calls


def test_tracking_and_more_budget_may_change() -> None:
    old = random_study()
    new = random_study(
        budget={"trials_per_method": 9, "confirm_seeds": 2}, tracking={"mlflow": False}, save_seconds=None
    )

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


@pytest.mark.parametrize("name", ["study.yaml", "environment.json"])
def test_what_a_begun_study_was_begun_with_must_not_be_missing(lab: Lab, name: str) -> None:
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 0}))
    calls, path = lab.calls, lab.run.path / name
    path.unlink()

    with pytest.raises(RunDirectoryError, match=rf"^{path}: missing from a study that has begun\. Without it nobody "):
        lab.start(random_study(budget={"trials_per_method": 2, "confirm_seeds": 0}))

    assert lab.calls == calls
    assert not path.exists()


def test_trials_bind_a_study_whose_base_model_has_lost_its_record(lab: Lab) -> None:
    budget = {"trials_per_method": 1, "confirm_seeds": 0}
    lab.start(random_study(budget=budget))
    lab.run.baseline.record.unlink()

    with pytest.raises(RunDirectoryError, match=r"seed: 0 → 1"):
        lab.start(random_study(budget=budget, seed=1))
    with pytest.raises(RunDirectoryError, match=r"data have changed since this study began: train\."):
        lab.start(random_study(budget=budget), rows=9)
    lab.start(random_study(budget=budget))

    assert [name for name in lab.calls if not name.startswith("search")] == ["baseline None/0"] * 2
    assert sorted(set(lab.calls)) == ["baseline None/0", "search full/0", "search lora/0"]


def test_a_second_driver_is_refused_with_the_firsts_number(lab: Lab) -> None:
    with (
        leased(lab.run),
        pytest.raises(RunDirectoryError, match=rf"in use by another `sweep run` \(process {os.getpid()}\)"),
    ):
        lab.start(random_study())


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def driver(lab: Lab) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float = 0.3, sampler: str = "tpe") -> "subprocess.Popen[str]":
        arguments = [str(lab.run.path), str(lab.path / "calls"), str(seconds), sampler]
        started.append(subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    # A test that fails in the middle leaves nothing to the next.
    for process in started:
        process.kill()
        with process:
            pass


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


@pytest.mark.parametrize("sampler", ["tpe", "tpe,slow"], ids=["nothing-to-save", "saving-takes-long"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_told_to_stop_ends_its_worker_within_ten_seconds_and_writes_no_record_of_it(
    lab: Lab, driver: Start, stop: signal.Signals, sampler: str
) -> None:
    process = driver(30, sampler)
    wait_for(lambda: len(lab.calls) >= 1)
    pid = worker_pid(lab)

    began = time.monotonic()
    process.send_signal(stop)

    assert process.wait(30) == 130
    took = time.monotonic() - began
    assert took < 10
    # Saving is given time, if not all that it would take.
    assert (took > 4) == sampler.endswith("slow")
    process.communicate()
    assert not psutil.pid_exists(pid)
    assert not lab.run.baseline.record.exists()


def test_a_second_ctrl_c_does_not_wait_for_a_worker_that_will_not_end(lab: Lab, driver: Start) -> None:
    process = driver(seconds=30)
    wait_for(lambda: len(lab.calls) >= 1)
    worker = psutil.Process(worker_pid(lab))
    worker.suspend()
    # The signal is taken when the process next runs; until then another of its threads may hear the driver.
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED)

    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    waited = process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)

    code = process.wait(30)
    took = time.monotonic() - began
    # What it inherited keeps the driver's output open.
    worker.kill()
    process.communicate()

    assert waited, "the first waits for what may be saved"
    assert code == 130
    assert took < 3
