"""Real worker processes on a real, tiny model, killed in mid-training: what they had saved is gone on from."""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wave_bench import Here, make_here

from sweep.pool.local import LocalPool
from sweep.protocol import Died, Finished, LossTaken, Message, Progressed, RungReached, RunTogether, RunTrial, Verdict
from sweep.record import TrialRecord
from sweep.store import TrialDirectory
from sweep.training.state.file import StateUnusableError, read_values
from sweep.worker import TrialRunner

PATIENCE = 300.0


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path) -> Here:
    return make_here(tiny_model, tmp_path)


@pytest.fixture
def open_pool(tmp_path: Path) -> Iterator[Callable[[], LocalPool]]:
    opened: list[LocalPool] = []

    def build() -> LocalPool:
        opened.append(LocalPool(functools.partial(TrialRunner, tmp_path / "cache"), logs=tmp_path))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def request(here: Here, number: int = 0, *, name: str = "trial", save_seconds: float = 0.0) -> RunTrial:
    made = here.trial(number, max_steps=200)
    return RunTrial(made.config, here.path / name / str(number), made.data, save_seconds=save_seconds)


def step_saved(trial: RunTrial) -> int:
    with contextlib.suppress(StateUnusableError):
        return int(read_values(TrialDirectory(trial.directory).training_state)["head"]["step"])
    return 0


def steps_taken(trial: RunTrial) -> int:
    file = TrialDirectory(trial.directory).steps
    return file.read_bytes().count(b"learning_rate") if file.exists() else 0


def listen(pool: LocalPool, jobs: list[int], until: Callable[[], bool] = lambda: False) -> dict[int, Message]:
    """What ends the jobs, or has ended them by the time that something has happened. Every trial may go on."""
    ended: dict[int, Message] = {}
    deadline = time.monotonic() + PATIENCE
    while len(ended) < len(jobs) and not until():
        assert time.monotonic() < deadline, "it never happened"
        for report in pool.wait(0.02):
            if isinstance(report.message, RungReached):
                pool.reply(report.job, Verdict(prune=False))
            elif isinstance(report.message, Finished | Died):
                ended[report.job] = report.message
            else:
                assert isinstance(report.message, Progressed | LossTaken)
    return ended


def pid_of(pool: LocalPool) -> int:
    (worker,) = pool._workers
    assert worker is not None
    assert worker.process.pid is not None
    return worker.process.pid


def record_of(message: Message) -> TrialRecord:
    assert isinstance(message, Finished)
    assert message.record.failure is None
    return message.record


def test_a_trial_whose_worker_is_killed_ends_as_if_it_had_not_been(
    here: Here, open_pool: Callable[[], LocalPool]
) -> None:
    pool, trial, whole = open_pool(), request(here), request(here, name="whole", save_seconds=1e6)
    job = pool.submit(trial)
    listen(pool, [job], until=lambda: step_saved(trial) >= 20)

    os.kill(pid_of(pool), signal.SIGKILL)
    died = listen(pool, [job])[job]
    again = pool.submit(trial)
    found = record_of(listen(pool, [again])[again])
    beside = pool.submit(whole)
    expected = record_of(listen(pool, [beside])[beside])

    assert isinstance(died, Died)
    assert (found.resumed, expected.resumed) == (1, 0)
    assert found.training.final_sha256 == expected.training.final_sha256
    assert found.training.train_loss == expected.training.train_loss
    assert found.intermediate == expected.intermediate
    assert steps_taken(trial) == 200


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_a_pool_that_is_closed_lets_a_training_save_its_state_within_seconds(
    here: Here, open_pool: Callable[[], LocalPool], together: bool
) -> None:
    trials = [request(here, number, save_seconds=1e6) for number in range(2 if together else 1)]
    jobs, pool = _submitted(open_pool(), trials)
    listen(pool, jobs, until=lambda: min(map(steps_taken, trials)) >= 20)

    began = time.monotonic()
    pool.close()
    took = time.monotonic() - began
    saves = [step_saved(trial) for trial in trials]
    jobs, pool = _submitted(open_pool(), trials)
    records = [record_of(message) for message in listen(pool, jobs).values()]

    assert took < 8
    assert min(saves) >= 20
    assert [record.resumed for record in records] == [1] * len(trials)
    assert all(steps_taken(trial) == 200 for trial in trials)


def _submitted(pool: LocalPool, trials: list[RunTrial]) -> tuple[list[int], LocalPool]:
    if len(trials) == 1:
        return [pool.submit(trials[0])], pool
    return list(pool.submit_together(RunTogether(tuple(trials), len(trials)))), pool


@pytest.mark.slow
def test_a_worker_that_is_terminated_by_itself_saves_first_and_dies_of_the_signal(
    here: Here, open_pool: Callable[[], LocalPool]
) -> None:
    pool, trial = open_pool(), request(here, save_seconds=1e6)
    job = pool.submit(trial)
    listen(pool, [job], until=lambda: steps_taken(trial) >= 20)

    os.kill(pid_of(pool), signal.SIGTERM)
    died = listen(pool, [job])[job]

    assert isinstance(died, Died)
    assert "SIGTERM" in died.message
    assert step_saved(trial) >= 20
