"""Trials over two processes in a real worker: it outlives them, and they do not outlive it."""

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sharded_trials import members
from wave_bench import Here, make_here

from sweep.pool.local import LocalPool
from sweep.protocol import Died, Finished, Message, RungReached, RunTrial, Verdict
from sweep.store import TrialDirectory
from sweep.worker import TrialRunner

pytestmark = pytest.mark.slow
PATIENCE = 300.0
SECONDS = 10.0


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path) -> Here:
    return make_here(tiny_model, tmp_path)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LocalPool]:
    opened = LocalPool(functools.partial(TrialRunner, tmp_path / "cache"), logs=tmp_path)
    yield opened
    opened.close()


def request(here: Here, name: str, **training: object) -> RunTrial:
    made = here.trial(0, num_processes=2, **training)
    return RunTrial(made.config, here.path / name, made.data, save_seconds=0.0)


def steps_taken(trial: RunTrial) -> int:
    file = TrialDirectory(trial.directory).steps
    return file.read_bytes().count(b"learning_rate") if file.exists() else 0


def listen(pool: LocalPool, until: Callable[[], bool] = lambda: False) -> Message | None:
    """What ends the job, unless something else happens before."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, "it never happened"
        for report in pool.wait(0.05):
            if isinstance(report.message, RungReached):
                pool.reply(report.job, Verdict(prune=False))
            elif isinstance(report.message, Finished | Died):
                return report.message
    return None


def worker_of(pool: LocalPool) -> psutil.Process:
    (worker,) = pool._workers
    assert worker is not None
    return psutil.Process(worker.process.pid)


def test_a_worker_outlives_a_process_that_is_killed_and_runs_the_next_trial(here, pool) -> None:
    long = request(here, "long", max_steps=10_000)
    pool.submit(long)
    assert listen(pool, until=lambda: steps_taken(long) >= 2) is None
    worker = worker_of(pool)
    training = members(worker)

    training[1].kill()
    began = time.monotonic()
    ended = listen(pool)

    assert time.monotonic() - began < SECONDS
    assert isinstance(ended, Finished)
    assert (ended.record.state, ended.record.failure.kind) == ("FAIL", "worker_died")
    assert "Process 2 of 2 was killed (SIGKILL)" in ended.record.failure.message
    _, alive = psutil.wait_procs(training, timeout=SECONDS)
    assert alive == []

    pool.submit(request(here, "short", max_steps=3))
    after = listen(pool)

    assert worker_of(pool) == worker
    assert isinstance(after, Finished)
    assert (after.record.state, after.record.failure) == ("COMPLETE", None)
    assert after.record.training.optimizer_steps == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_worker(here, pool, number) -> None:
    long = request(here, "long", max_steps=10_000)
    pool.submit(long)
    assert listen(pool, until=lambda: steps_taken(long) >= 2) is None
    training = members(worker_of(pool))

    os.kill(worker_of(pool).pid, number)

    assert isinstance(listen(pool), Died)
    _, alive = psutil.wait_procs(training, timeout=SECONDS)
    assert len(training) == 2
    assert alive == []
