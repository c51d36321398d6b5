"""Jobs find devices with the memory for them, nodes come and go, and what a lost call asked for is done once."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from asked_pool import toy_trials
from toy_cluster import ToyCluster
from toy_runner import ToyRunner, build_toy, toy_study

from sweep.board import read_board
from sweep.errors import ClusterLostError, MachineError
from sweep.pool import cluster as cluster_module
from sweep.pool.cluster import ClusterPool
from sweep.pool.roster import Roster
from sweep.protocol import (
    Died,
    Finished,
    Message,
    Prepared,
    PrepareData,
    Progressed,
    RungReached,
    RunTogether,
    RunTrial,
    SeatsFree,
    Verdict,
)
from sweep.shape import Device, Facts

PATIENCE = 60.0
OpenPool = Callable[..., ClusterPool]


@pytest.fixture
def cluster(tmp_path: Path) -> ToyCluster:
    return ToyCluster(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pool(cluster: ToyCluster, tmp_path: Path, said: list[str]) -> Iterator[OpenPool]:
    opened: list[ClusterPool] = []

    def build(patience_seconds: float = 60.0, workers: int = 1, **toy: object) -> ClusterPool:
        runner = functools.partial(build_toy, ToyRunner(tmp_path / "calls", **toy))
        roster = Roster(
            lambda: cluster,
            runner,
            run=tmp_path,
            workers=workers,
            say=said.append,
            look_seconds=0.0,
            patience_seconds=patience_seconds,
        )
        opened.append(ClusterPool(roster))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., RunTrial]:
    return toy_trials(tmp_path)


def listen(pool: ClusterPool, jobs: int) -> dict[int, Message]:
    """How so many jobs ended, every rung answered with: go on."""
    ended: dict[int, Message] = {}
    deadline = time.monotonic() + PATIENCE
    while len(ended) < jobs and time.monotonic() < deadline:
        for report in pool.wait(0.2):
            if isinstance(report.message, RungReached):
                pool.reply(report.job, Verdict(prune=False))
            elif not isinstance(report.message, Progressed):
                assert report.job not in ended
                ended[report.job] = report.message
    return ended


def places(tmp_path: Path) -> dict[str, str]:
    """Which worker ran each trial, by its process."""
    lines = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    return {words[1]: words[-1] for words in lines}


PREPARE = PrepareData(toy_study().model, toy_study().data, Path(), 64, Path("data"), seed=3)


def start(pool: ClusterPool) -> None:
    """Have the workers of all nodes greet, by a job that any of them does."""
    pool.submit(PREPARE)
    assert isinstance(listen(pool, 1)[1], Prepared)


def test_a_trial_goes_to_the_smallest_device_that_holds_it(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "BOARD_SECONDS", 0.0)
    for name, size in (("large", 80), ("small", 16), ("middle", 40)):
        cluster.add(name, memory_bytes=size)
    here = pool(seconds=1.5)
    start(here)

    jobs = [here.submit(trial(0, 30)), here.submit(trial(1, 10)), here.submit(trial(2, None))]
    here.wait(0.0)
    board = read_board(tmp_path)
    ended = listen(here, 3)

    assert board is not None
    assert {line.device.split()[-1]: line.doing.split()[:2] for line in board.workers} == {
        "middle": ["lora", "0"],
        "small": ["lora", "1"],
        "large": ["lora", "2"],
    }
    assert all(isinstance(ended[job], Finished) for job in jobs)


def test_a_trial_waits_for_a_device_that_is_large_enough_and_others_pass_it(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], tmp_path: Path
) -> None:
    cluster.add("large", memory_bytes=80)
    cluster.add("small", memory_bytes=16)
    here = pool(seconds=0.2)
    start(here)

    first, second = here.submit(trial(0, 60)), here.submit(trial(1, 60))
    assert here.has_room
    third = here.submit(trial(2, 10))
    ended = listen(here, 3)

    assert set(ended) == {first, second, third}
    assert list(ended).index(first) < list(ended).index(second)
    ran = places(tmp_path)
    assert ran["lora/0"] == ran["lora/1"] != ran["lora/2"]


def test_a_trial_that_no_device_seems_to_hold_is_tried_on_the_largest(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial]
) -> None:
    cluster.add("small", memory_bytes=16)
    here = pool()
    start(here)

    job = here.submit(trial(0, 200))

    assert isinstance(listen(here, 1)[job], Finished)


def test_trials_run_together_go_to_the_largest_device(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial]
) -> None:
    cluster.add("small", memory_bytes=16)
    cluster.add("large", memory_bytes=80)
    here = pool(seconds=0.2)
    start(here)
    assert here.largest(Facts(shape=None, device=Device("the driver's", "cpu", 1, 1))).device.memory_bytes == 80

    here.submit_together(RunTogether((trial(0, 10), trial(1, 10)), 2))
    # What needs as much as the large device has waits for it, so it is there that they are.
    late = here.submit(trial(2, 60))
    ended = []
    while len(ended) < 3:
        for report in here.wait(0.2):
            match report.message:
                case RungReached():
                    here.reply(report.job, Verdict(prune=False))
                case SeatsFree():
                    here.seat(report.job, [])
                case Finished():
                    ended.append(report.job)

    assert ended[-1] == late


def test_a_call_that_is_lost_loses_no_message_and_does_nothing_twice(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "AGAIN_SECONDS", 0.0)
    cluster.add("one")
    here = pool()
    start(here)
    cluster.drops = ["before", "after", "", "after", "before", "after", "after", "", "before"] * 3

    for number in range(3):
        job = here.submit(trial(number))
        assert isinstance(listen(here, 1)[job], Finished)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[1] for line in calls] == ["lora/0", "lora/1", "lora/2"]


def test_a_worker_that_stays_away_is_given_up(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(cluster_module, "AWAY_SECONDS", 0.3)
    cluster.add("one")
    here = pool()
    start(here)
    cluster.drops = ["before"] * 1000

    died = listen(here, 1) if (job := here.submit(trial(0))) else {}

    assert isinstance(died[job], Died)
    assert died[job].kind == "lost"


def test_a_lost_node_loses_only_its_own_jobs_and_one_that_joins_gets_a_worker(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], said: list[str]
) -> None:
    cluster.add("one")
    cluster.add("two")
    here = pool(seconds=0.5)
    start(here)
    jobs = [here.submit(trial(0)), here.submit(trial(1))]

    del cluster.there["one"]
    ended = listen(here, 2)
    cluster.add("three")
    jobs.append(here.submit(trial(2)))
    ended |= listen(here, 1)
    jobs += [here.submit(trial(3)), here.submit(trial(4))]
    ended |= listen(here, 2)

    assert sorted(type(ended[job]).__name__ for job in jobs) == ["Died"] + ["Finished"] * 4
    lost = next(message for message in ended.values() if isinstance(message, Died))
    assert (lost.kind, lost.message) == ("lost", "The worker on one was lost: one has no power.")
    assert [text.split(":")[0] for text in said] == [
        "Worker 0 is on one",
        "Worker 1 is on two",
        "The worker on one was lost",
        "Worker 2 is on three",
    ]


def test_data_are_prepared_elsewhere_where_the_node_is_lost(pool: OpenPool, cluster: ToyCluster) -> None:
    cluster.add("one")
    here = pool()
    start(here)
    job = here.submit(PREPARE)
    cluster.add("two")
    del cluster.there["one"]

    assert isinstance(listen(here, 1)[job], Prepared)


def test_a_node_with_other_versions_is_not_used_and_that_is_said_once(
    pool: OpenPool, cluster: ToyCluster, trial: Callable[..., RunTrial], said: list[str]
) -> None:
    cluster.add("good")
    cluster.add("old", cpus=2)
    cluster.versions["old"] = {"torch": "1.0", "finetune-sweep": "0.0.1 (abc)"}
    here = pool(workers=2)

    start(here)
    ended = listen(here, 1) if (job := here.submit(trial(0))) else {}

    assert isinstance(ended[job], Finished)
    refused = [text for text in said if "cannot be used" in text]
    assert len(refused) == 1
    assert refused[0].startswith("Node old cannot be used: it has finetune-sweep 0.0.1 (abc) instead of ")
    assert "torch 1.0 instead of " in refused[0]


def test_a_cluster_of_which_no_node_can_be_used_ends_the_study(pool: OpenPool, cluster: ToyCluster) -> None:
    cluster.add("old")
    cluster.versions["old"] = {"torch": "1.0"}
    here = pool()
    here.submit(PREPARE)

    with pytest.raises(MachineError, match=r"Node old cannot be used: it has torch 1\.0 instead of"):
        listen(here, 1)


def test_the_study_ends_after_a_long_time_without_a_worker(pool: OpenPool) -> None:
    here = pool(patience_seconds=0.3)
    here.submit(PREPARE)

    with pytest.raises(ClusterLostError, match="bring nodes back"):
        listen(here, 1)


def test_closing_leaves_nothing_behind(pool: OpenPool, cluster: ToyCluster, tmp_path: Path) -> None:
    cluster.add("one")
    here = pool()
    start(here)

    here.close()

    assert cluster.has_left
    assert not list(tmp_path.glob(".shared-*"))
    assert read_board(tmp_path) is None


def test_memory_is_no_part_of_what_a_trial_is(trial: Callable[..., RunTrial]) -> None:
    assert replace(trial(0, 5), memory_bytes=None) == trial(0)
