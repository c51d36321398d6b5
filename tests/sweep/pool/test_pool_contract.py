"""What every pool does, wherever its workers are: one suite, run over local processes and over a Ray cluster.

What is told to Ray, and to a person where it cannot be joined, stands here too: one cluster serves all of this file.
"""

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from asked_pool import pid_of_call, toy_trials, until_answered
from toy_runner import ToyRunner, build_toy

from sweep.errors import MachineError
from sweep.pool.cluster import ClusterPool
from sweep.pool.local import LocalPool
from sweep.pool.ray import RayCluster
from sweep.pool.roster import Roster
from sweep.protocol import (
    Crashed,
    Died,
    Finished,
    Pool,
    Prepared,
    Progressed,
    Refused,
    RungReached,
    RunTogether,
    RunTrial,
    SeatsFree,
    Verdict,
)

if TYPE_CHECKING:
    from ray_nodes import RayNodes

PATIENCE = 60.0
HANDLER = signal.getsignal(signal.SIGTERM)
OpenPool = Callable[..., Pool]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[RayNodes]":
    pytest.importorskip("ray", reason="the extra finetune-sweep[ray] is not installed")
    from ray_nodes import ray_nodes

    with ray_nodes(cpus=1) as started:
        # Whoever joins later shares this connection; joining takes seconds.
        cluster = RayCluster(started.address, run=tmp_path_factory.mktemp("joined"), inputs=())
        yield started
        cluster.close()


@pytest.fixture(params=["local", "ray"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenPool]:
    opened: list[Pool] = []

    def build(grace_seconds: float = 60.0, **toy: object) -> Pool:
        build_runner = functools.partial(build_toy, ToyRunner(tmp_path / "calls", **toy))
        if request.param == "local":
            opened.append(LocalPool(build_runner, logs=tmp_path, grace_seconds=grace_seconds))
        else:
            address = request.getfixturevalue("nodes").address
            join = functools.partial(RayCluster, address, run=tmp_path, inputs=())
            opened.append(ClusterPool(Roster(join, build_runner, run=tmp_path, grace_seconds=grace_seconds)))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., RunTrial]:
    return toy_trials(tmp_path)


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("127.0.0.1:9", "--address 127.0.0.1:9: no Ray cluster answers there"),
        ("head", "--address head: no Ray cluster answers there (an address is HOST:PORT, or auto)."),
        ("ray://head:10001", "--address ray://head:10001: a client's address."),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_clear_line(tmp_path: Path, address: str, complaint: str) -> None:
    with pytest.raises(MachineError) as raised:
        RayCluster(address, run=tmp_path, inputs=())

    assert str(raised.value).startswith(complaint)
    assert "\n" not in str(raised.value)


def test_a_worker_runs_its_jobs_one_after_another_and_is_kept(
    pool: OpenPool, trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool()

    assert isinstance(until_answered(here, here.submit(trial(0).data))[-1], Prepared)
    for number in (0, 1):
        assert here.has_room
        job = here.submit(trial(number))
        assert not here.has_room
        with pytest.raises(RuntimeError, match="busy"):
            here.submit(trial(number))
        heard = until_answered(here, job)
        assert [type(message) for message in heard] == [Progressed, RungReached, RungReached, Finished]
        assert heard[-1].record.config == trial(number).config

    pids = {line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()}
    assert len(pids) == 1
    assert pids != {str(os.getpid())}


def test_a_verdict_reaches_the_trial(pool: OpenPool, trial: Callable[[int], RunTrial]) -> None:
    here = pool()

    heard = until_answered(here, here.submit(trial(0)), prune=True)

    assert heard[-1].record.state == "PRUNED"
    assert sum(isinstance(message, RungReached) for message in heard) == 1


def test_trials_run_together_are_told_apart_and_a_free_seat_is_filled(
    pool: OpenPool, trial: Callable[[int], RunTrial]
) -> None:
    here = pool()
    jobs = list(here.submit_together(RunTogether((trial(0), trial(1)), 2)))
    assert not here.has_room

    ended: dict[int, int] = {}
    deadline = time.monotonic() + PATIENCE
    while not here.has_room and time.monotonic() < deadline:
        for report in here.wait(1.0):
            match report.message:
                case RungReached():
                    here.reply(report.job, Verdict(prune=False))
                case SeatsFree():
                    assert report.job == jobs[0]
                    new = [] if len(jobs) > 2 else [trial(2)]
                    jobs += here.seat(report.job, new)
                case Finished(record):
                    ended[report.job] = record.config.number

    assert ended == dict(zip(jobs, (0, 1, 2), strict=True))


def test_a_worker_killed_in_the_middle_is_explained_and_replaced(
    pool: OpenPool, trial: Callable[[int], RunTrial]
) -> None:
    here = pool(dies=("lora/0",))

    died = until_answered(here, here.submit(trial(0)))[-1]
    finished = until_answered(here, here.submit(trial(1)))[-1]

    assert isinstance(died, Died)
    assert died.kind == "worker_died"
    assert "SIGKILL" in died.message
    assert "worker-0.log" in died.message
    assert isinstance(finished, Finished)


def test_errors_come_back_as_what_they_are_and_the_worker_lives_on(
    pool: OpenPool, trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(crashes=("lora/0",), refuses=("lora/1",))

    crashed, refused, finished = (until_answered(here, here.submit(trial(number)))[-1] for number in (0, 1, 2))

    assert isinstance(crashed, Crashed)
    assert "ZeroDivisionError" in crashed.message
    assert isinstance(refused, Refused)
    assert (refused.error, refused.message) == ("TaskError", "gsm8k: no such task here.")
    assert isinstance(finished, Finished)
    assert len({line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()}) == 1


def test_a_worker_that_hangs_is_ended_after_its_deadline(pool: OpenPool, trial: Callable[[int], RunTrial]) -> None:
    here = pool(grace_seconds=0.5, hangs=("lora/0",))

    died = until_answered(here, here.submit(trial(0), deadline_seconds=0.5))[-1]

    assert isinstance(died, Died)
    assert died.kind == "deadline"
    assert here.has_room


def test_closing_ends_workers_whatever_they_do(
    pool: OpenPool, trial: Callable[[int], RunTrial], tmp_path: Path
) -> None:
    here = pool(hangs=("lora/0",))
    here.submit(trial(0))
    pid = pid_of_call(here, tmp_path / "calls")
    began = time.monotonic()

    here.close()

    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(pid)
    assert not list(tmp_path.glob(".shared-*"))


@pytest.mark.usefixtures("nodes")
def test_the_cluster_is_not_told_of_the_command_line_and_signals_stay_ours() -> None:
    import ray

    jobs = ray._private.worker.global_worker.gcs_client.get_all_job_info()

    assert {job.entrypoint for job in jobs.values()} == {"sweep run"}
    assert signal.getsignal(signal.SIGTERM) is HANDLER
