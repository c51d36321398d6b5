"""A worker answers, keeps its driver's terminal clean, and ends with its driver."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy_runner import ToyRunner, build_toy, toy_study

from sweep.config import configure
from sweep.piped import crash_of
from sweep.pool.log import WorkerLog
from sweep.protocol import (
    Crashed,
    Finished,
    Prepared,
    PrepareData,
    Progressed,
    Ready,
    Refused,
    RungReached,
    RunTrial,
    Verdict,
)
from sweep.worker import serve

CONTEXT = multiprocessing.get_context("spawn")


class Line:
    """The driver's ends of a worker's pipes."""

    def __init__(self, runner: ToyRunner, log: Path) -> None:
        self.requests, theirs = CONTEXT.Pipe()
        their_lifeline, self.lifeline = CONTEXT.Pipe(duplex=False)
        output, their_output = CONTEXT.Pipe(duplex=False)
        self.log = WorkerLog(log, output)
        kwargs = {"output": their_output, "device": "7", "build_runner": functools.partial(build_toy, runner)}
        self.process = CONTEXT.Process(target=serve, args=(theirs, their_lifeline), kwargs=kwargs)
        self.process.start()
        theirs.close()
        their_lifeline.close()
        their_output.close()
        assert isinstance(self.requests.recv(), Ready)

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.requests.close()
        self.lifeline.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    worker = Line(ToyRunner(tmp_path / "calls", crashes=("lora/1",), refuses=("lora/2",)), tmp_path / "worker.log")
    yield worker
    worker.close()


@pytest.fixture
def trial(tmp_path: Path) -> Callable[[int], RunTrial]:
    spec = toy_study()

    def build(number: int) -> RunTrial:
        config = configure(spec, "lora", {}, phase="search", number=number, seed=0, data_root=tmp_path)
        data = PrepareData(spec.model, spec.data, tmp_path, 64, tmp_path / "data", seed=3)
        return RunTrial(config, tmp_path / "trial", data)

    return build


def test_a_trial_reports_rungs_obeys_verdicts_and_ends_in_a_record(
    line: Line, trial: Callable[[int], RunTrial]
) -> None:
    request = trial(0)
    line.requests.send(request)

    assert isinstance(line.requests.recv(), Progressed)
    first = line.requests.recv()
    line.requests.send(Verdict(prune=False))
    second = line.requests.recv()
    line.requests.send(Verdict(prune=True))
    answer = line.requests.recv()

    assert [first.rung, second.rung] == [1, 2]
    assert isinstance(second, RungReached)
    assert isinstance(answer, Finished)
    assert (answer.record.state, answer.record.config) == ("PRUNED", request.config)


def test_bugs_and_the_users_mistakes_are_answers_and_the_worker_lives_on(
    line: Line, trial: Callable[[int], RunTrial]
) -> None:
    answers = []
    for number in (1, 2):
        line.requests.send(trial(number))
        assert isinstance(line.requests.recv(), Progressed)
        answers.append(line.requests.recv())
    line.requests.send(trial(0).data)

    crashed, refused = answers
    assert isinstance(crashed, Crashed)
    assert "nobody expected this" in crashed.message
    assert "toy_runner.py" in crashed.traceback
    assert refused == Refused("TaskError", "gsm8k: no such task here.")
    assert isinstance(line.requests.recv(), Prepared)


def test_what_a_worker_prints_goes_to_its_log(
    line: Line, trial: Callable[[int], RunTrial], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line.requests.send(trial(0).data)
    line.requests.recv()
    line.lifeline.close()
    line.process.join(10)
    line.log.finish(10)

    assert "prepared with seed 3 on 7" in (tmp_path / "worker.log").read_text()
    assert capfd.readouterr() == ("", "")


def test_a_worker_ignores_the_terminals_interrupt(line: Line, trial: Callable[[int], RunTrial]) -> None:
    os.kill(line.process.pid or 0, signal.SIGINT)
    line.requests.send(trial(0).data)

    assert isinstance(line.requests.recv(), Prepared)


def test_a_worker_ends_in_the_middle_of_a_trial_when_its_driver_is_gone(
    tmp_path: Path, trial: Callable[[int], RunTrial]
) -> None:
    worker = Line(ToyRunner(tmp_path / "calls", hangs=("lora/0",)), tmp_path / "worker.log")
    worker.requests.send(trial(0))
    assert isinstance(worker.requests.recv(), Progressed)

    worker.lifeline.close()
    worker.process.join(10)

    assert worker.process.exitcode == 0
    worker.close()


def test_the_drivers_side_imports_no_machine_learning_library() -> None:
    code = (
        "import sys, sweep.study.phases, sweep.pool.local, sweep.worker\n"
        "found = {'torch', 'transformers', 'datasets', 'mlflow', 'lm_eval'} & sys.modules.keys()\n"
        "assert not found, found"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_that_ends_where_no_trial_is_at_work_is_told_from_a_bug() -> None:
    ended, bug = crash_of(MemoryError("no room")), crash_of(ZeroDivisionError("x"))

    assert (ended.kind, ended.message) == ("out_of_memory", "MemoryError: no room")
    assert (bug.kind, bug.message) == ("error", "ZeroDivisionError: x")
    assert "ZeroDivisionError: x" in bug.traceback
