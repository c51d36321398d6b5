"""Jobs run in processes of their own; a death is heard, explained, and takes one job with it."""

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from asked_pool import pid_of_call, toy_trials, until_answered
from toy_runner import ToyRunner, build_toy

from sweep.pool.local import LocalPool
from sweep.protocol import Died, Finished, Prepared, RunTrial

PATIENCE = 30.0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Callable[..., LocalPool]]:
    opened: list[LocalPool] = []

    def build(runner: ToyRunner, **options: object) -> LocalPool:
        opened.append(LocalPool(functools.partial(build_toy, runner), logs=tmp_path, **options))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., RunTrial]:
    return toy_trials(tmp_path)


def test_one_worker_runs_its_jobs_one_after_another(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls"))

    for number in (0, 1):
        assert here.has_room
        job = here.submit(trial(number))
        assert not here.has_room
        assert isinstance(until_answered(here, job)[-1], Finished)

    pids = [line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert len(pids) == 2
    assert len(set(pids)) == 1
    assert pids[0] != str(os.getpid())


def test_each_device_has_a_worker_that_sees_no_other(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls"), devices=("4", "5"))

    jobs = [here.submit(trial(0).data), here.submit(trial(1).data)]
    answers = []
    while len(answers) < len(jobs):
        answers += here.wait(PATIENCE)

    assert {report.job for report in answers} == set(jobs)
    assert all(isinstance(report.message, Prepared) for report in answers)
    here.close()
    assert [(tmp_path / f"worker-{seat}.log").read_text().split()[-1] for seat in (0, 1)] == ["4", "5"]


def test_a_worker_killed_in_the_middle_is_explained_and_replaced(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls", dies=("lora/0",)))

    died = until_answered(here, here.submit(trial(0)))[-1]
    finished = until_answered(here, here.submit(trial(1)))[-1]

    assert isinstance(died, Died)
    assert died.kind == "worker_died"
    assert "SIGKILL" in died.message
    assert "memory" in died.message
    assert isinstance(finished, Finished)


def test_a_worker_that_was_killed_while_idle_is_replaced(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls"))
    until_answered(here, here.submit(trial(0)))
    pid = pid_of_call(here, tmp_path / "calls")
    os.kill(pid, signal.SIGKILL)
    # A process whose threads are still ending counts as alive; this waits for the last of them and reaps nothing.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert isinstance(until_answered(here, here.submit(trial(1)))[-1], Finished)


def test_a_worker_that_grows_is_replaced_between_trials_and_another_is_kept(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    def processes(leak: int) -> int:
        calls = tmp_path / f"calls-{leak}"
        here = pool(ToyRunner(calls, leaks_bytes=leak), spare_bytes=10**8)
        for number in range(14):
            assert isinstance(until_answered(here, here.submit(trial(number)))[-1], Finished)
        return len({line.split()[-1] for line in calls.read_text().splitlines()})

    assert processes(0) == 1
    assert processes(10**8) == 2


def test_a_worker_that_hangs_is_ended_after_its_deadline(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls", hangs=("lora/0",)), grace_seconds=0.5)

    died = until_answered(here, here.submit(trial(0), deadline_seconds=0.5))[-1]

    assert isinstance(died, Died)
    assert died.kind == "deadline"
    assert here.has_room


def test_a_worker_that_gives_no_sign_of_life_is_ended_and_the_next_job_gets_another(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    """It is stopped, so that it can neither speak nor heed SIGTERM."""
    here = pool(ToyRunner(tmp_path / "calls", hangs=("lora/0",)), silence_seconds=3.0)
    job = here.submit(trial(0))
    pid = pid_of_call(here, tmp_path / "calls")
    os.kill(pid, signal.SIGSTOP)

    died = until_answered(here, job)[-1]

    assert died == Died("worker_died", "The worker process gave no sign of life for 3 s, so it was ended.")
    assert not psutil.pid_exists(pid)
    assert isinstance(until_answered(here, here.submit(trial(1)))[-1], Finished)


def test_starting_a_worker_is_not_part_of_its_deadline(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls"), grace_seconds=0.0)

    assert isinstance(until_answered(here, here.submit(trial(0), deadline_seconds=0.5))[-1], Finished)


def test_a_worker_is_not_late_because_the_driver_was_elsewhere(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls", seconds=0.1), grace_seconds=0.0)
    job = here.submit(trial(0), deadline_seconds=0.5)
    while not here.wait(1.0):
        pass

    time.sleep(1.0)

    assert isinstance(until_answered(here, job)[-1], Finished)


def test_closing_ends_workers_whatever_they_do(
    pool: Callable[..., LocalPool], trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(ToyRunner(tmp_path / "calls", hangs=("lora/0",)))
    here.submit(trial(0))
    pid = pid_of_call(here, tmp_path / "calls")

    here.close()

    assert not psutil.pid_exists(pid)
