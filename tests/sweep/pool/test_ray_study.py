"""Whole studies over real Ray nodes: they join late, die in the middle, and share no file system."""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from interrupting import found_out
from killed_cluster import killed_cluster
from killed_contents import contents, differences
from killed_workloads import WORKLOADS
from killing import run_through
from toy_runner import ToyRunner, build_toy, toy_study

from sweep.events import Event, Notice, TrialEnded, TrialStarted
from sweep.pool.choice import choose_workers
from sweep.status import read_status
from sweep.store import RunDirectory
from sweep.study.phases import Workers, run_study

if TYPE_CHECKING:
    from ray_nodes import Network, RayNodes

pytest.importorskip("ray", reason="the extra finetune-sweep[ray] is not installed")

STUDY = Path(__file__).parents[2] / "toys" / "run_tiny_study.py"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def nodes() -> "Iterator[RayNodes]":
    from ray_nodes import ray_nodes

    with ray_nodes(cpus=1) as started:
        yield started


@pytest.fixture
def networked() -> "Iterator[Network]":
    from ray_nodes import network

    with ExitStack() as stack:
        try:
            made = stack.enter_context(network())
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield made


def workers(nodes: "RayNodes", place: Path, **toy: object) -> Workers:
    runner = functools.partial(build_toy, ToyRunner(place / "calls", **toy))
    return choose_workers("ray", runner, toy_study(), place, address=nodes.address)


@pytest.mark.slow
def test_a_node_that_joins_late_works_too_and_one_that_is_lost_costs_no_trial(
    nodes: "RayNodes", tmp_path: Path
) -> None:
    spec = toy_study(sampler={"name": "random"}, budget={"trials_per_method": 8, "confirm_seeds": 0})
    said: list[str] = []
    ended = []
    late: list[subprocess.Popen[bytes]] = []
    boards = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialStarted) and event.config.phase == "search" and not late:
            late.append(nodes.add())
        if isinstance(event, TrialStarted) and late:
            boards.append(read_status(RunDirectory(tmp_path / "run")).board)
        if isinstance(event, TrialEnded):
            ended.append(event.record)
            # By its second trial the late node is in the middle of one.
            pids = {line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()}
            if len(pids) > 1 and late[0].poll() is None:
                nodes.kill(late[0])
        if isinstance(event, Notice):
            said.append(event.message)

    run_study(
        spec,
        run=RunDirectory(tmp_path / "run"),
        data_root=tmp_path,
        cache=tmp_path,
        on_event=watch,
        workers=workers(nodes, tmp_path, seconds=2.0),
    )

    assert late
    assert late[0].poll() is not None
    assert sum(" is on " in text for text in said) >= 2
    assert any("was lost" in text for text in said), said
    assert any("given to another worker" in text for text in said), said
    assert {record.state for record in ended} == {"COMPLETE"}
    assert len(ended) == 1 + 2 * 8
    assert any(board is not None and "lora" in " ".join(line.doing for line in board.workers) for board in boards)


@pytest.mark.slow
def test_each_gpu_of_a_node_has_a_worker_that_sees_no_other(tmp_path: Path) -> None:
    """Ray takes our word for the GPUs; nothing computes on them."""
    from ray_nodes import ray_nodes

    spec = toy_study(sampler={"name": "random"}, budget={"trials_per_method": 3, "confirm_seeds": 0})
    said: list[Event] = []
    with ray_nodes(cpus=1, gpus=2) as node:
        chosen = workers(node, tmp_path, seconds=1.0)
        run = RunDirectory(tmp_path / "run")
        run_study(spec, run=run, data_root=tmp_path, cache=tmp_path, on_event=said.append, workers=chosen)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert len({line.split()[-1] for line in calls}) == 2
    seen = {text.split()[-1] for log in run.path.glob("worker-*.log") for text in log.read_text().splitlines()}
    assert seen <= {"0", "1"}
    assert sum(" is on " in event.message for event in said if isinstance(event, Notice)) == 2


def tiny_study(model: Path, root: Path, address: str = "") -> "subprocess.Popen[str]":
    root.mkdir(exist_ok=True)
    arguments = [str(model), str(root), "0.5", *([address] if address else [])]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(STUDY), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


def outcomes(root: Path) -> dict[str, dict[str, object]]:
    run = RunDirectory(root / "run")
    found = {method: run.search_records(method) for method in ("lora", "full")}
    return {method: found_out(records[0]) for method, records in found.items() if records}


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    root = tmp_path_factory.mktemp("alone")
    driver = tiny_study(tiny_model, root)
    text = driver.communicate(timeout=PATIENCE * 2)[0]
    assert driver.returncode == 0, text
    return outcomes(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "shared", "cut"),
    [(2, True, False), (2, False, False), (3, True, False), (3, False, False), (2, True, True)],
    ids=["2-shared", "2-apart", "3-shared", "3-apart", "2-cable"],
)
def test_a_node_killed_in_the_middle_of_a_trial_changes_no_result(
    networked: "Network",
    tiny_model: Path,
    tmp_path: Path,
    uninterrupted: dict[str, dict[str, object]],
    *,
    shared: bool,
    count: int,
    cut: bool,
) -> None:
    """Nodes in network namespaces of their own; those that share nothing see an empty directory for the study.

    One whose cable is taken out goes on by itself: it must have ended its worker before another has the trial.
    """
    from ray_nodes import ray_nodes

    root = tmp_path / "study"
    root.mkdir()
    with ray_nodes(cpus=0, within=networked) as cluster:
        nodes = {}
        for _ in range(count):
            started = cluster.add(unseen=None if shared else root)
            nodes[cluster.addresses[started.pid]] = started
        driver = tiny_study(tiny_model, root, cluster.address)
        try:
            victim = busy_node(root)
            if cut:
                networked.cut(victim)
            else:
                cluster.kill(nodes[victim])
            text = driver.communicate(timeout=PATIENCE * 2)[0]
        finally:
            driver.kill()
            driver.communicate()

    assert driver.returncode == 0, text
    assert f"The worker on {victim} was lost" in text
    assert "goes on after step" in text
    assert outcomes(root) == uninterrupted
    run = RunDirectory(root / "run")
    assert run.search_trial("lora", 0).checkpoint.is_dir()
    assert not list(root.rglob("*.half"))
    assert not list(root.rglob("*training-state*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_ends_takes_its_workers_with_it_and_the_next_goes_on(
    nodes: "RayNodes",
    tiny_model: Path,
    tmp_path: Path,
    uninterrupted: dict[str, dict[str, object]],
    how: signal.Signals,
) -> None:
    driver = tiny_study(tiny_model, tmp_path / "study", nodes.address)
    try:
        busy_node(tmp_path / "study")
        began = time.monotonic()
        driver.send_signal(how)
        driver.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - began
        again = tiny_study(tiny_model, tmp_path / "study", nodes.address)
        text = again.communicate(timeout=PATIENCE * 2)[0]
    finally:
        driver.kill()
        driver.communicate()

    assert seconds < 15
    assert driver.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert again.returncode == 0, text
    assert "goes on after step" in text
    assert outcomes(tmp_path / "study") == uninterrupted


@pytest.mark.slow
def test_a_head_that_is_lost_ends_the_study_in_a_line_and_a_new_cluster_goes_on(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Ray itself would end the driver with words of its own, 60 s later."""
    workload, place = WORKLOADS["llama over Ray"], tmp_path / "study"
    with killed_cluster(wanted=True) as cluster:
        assert cluster is not None
        whole = run_through(workload, tmp_path / "whole", tiny_model, cluster)
        run = workload.lay_out(place, tiny_model)
        driver = workload.start(place, "headless", cluster.address)
        while not run.search_trial("lora", 0).training_state.exists():
            assert driver.poll() is None, (place / "said").read_text()
            time.sleep(0.02)
        began = time.monotonic()
        cluster.lose_everything()
        code = driver.wait(PATIENCE)
        seconds = time.monotonic() - began
        said = (place / "said").read_text()
        again = workload.start(place, "headless", cluster.address).wait(PATIENCE * 2)

    assert (code, seconds < 60) == (1, True), said
    assert "Traceback" not in said
    assert " ".join(said.split()).endswith(
        "the head of the cluster has not answered for 40 s. Everything that ended is saved; start the cluster and run "
        "the study again."
    )
    assert again == 0, (place / "said").read_text()
    assert list(differences(whole.contents, contents(run))) == []


def busy_node(root: Path) -> str:
    """The address of a node whose trial has just saved its state for the first time."""
    until = time.monotonic() + PATIENCE
    run = RunDirectory(root / "run")
    while time.monotonic() < until:
        board = read_status(run).board if run.study_file.exists() else None
        for line in () if board is None else board.workers:
            for method in ("lora", "full"):
                if line.doing.startswith(f"{method} 0 train") and run.search_trial(method, 0).training_state.exists():
                    return line.place
        time.sleep(0.05)
    raise AssertionError("no trial was trained")
