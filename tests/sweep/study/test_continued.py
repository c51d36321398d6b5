"""A study on a real, tiny model whose driver is stopped and killed in mid-training ends as one that ran through."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.record import TrialRecord
from sweep.store import RunDirectory, TrialDirectory

SCRIPT = Path(__file__).parents[2] / "toys" / "run_tiny_study.py"
PATIENCE = 180.0


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


def start(model: Path, root: Path, save_seconds: float) -> "subprocess.Popen[bytes]":
    root.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, str(SCRIPT), str(model), str(root), str(save_seconds)])


def steps(directory: TrialDirectory) -> list[dict]:
    if not directory.steps.exists():
        return []
    lines = [json.loads(line) for line in directory.steps.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def found(record: TrialRecord) -> dict:
    """What a trial found out: all that no clock tells."""
    clocks = {"tokens_per_second": True}
    return record.model_dump(
        include={"state": True, "objective": True, "intermediate": True, "tokens": True, "training": True},
        exclude={"training": clocks},
    )


@pytest.mark.slow
def test_a_driver_stopped_and_killed_in_mid_training_costs_nothing_that_was_saved(
    tiny_model: Path, tmp_path: Path
) -> None:
    straight, run = RunDirectory(tmp_path / "straight" / "run"), RunDirectory(tmp_path / "cut" / "run")
    assert start(tiny_model, tmp_path / "straight", 1e6).wait(PATIENCE) == 0
    first, second = run.search_trial("lora", 0), run.search_trial("full", 0)

    # Nothing is saved now and then: what is there afterwards was saved because it was told to stop.
    stopped = start(tiny_model, tmp_path / "cut", 1e6)
    wait_for(lambda: len(steps(first)) >= 40)
    began = time.monotonic()
    stopped.terminate()
    assert stopped.wait(PATIENCE) == 130
    took = time.monotonic() - began
    assert first.training_state.exists()

    killed = start(tiny_model, tmp_path / "cut", 0.0)
    wait_for(lambda: second.training_state.exists() and len(steps(second)) >= 40)
    killed.kill()
    killed.wait(PATIENCE)
    assert start(tiny_model, tmp_path / "cut", 0.0).wait(PATIENCE) == 0

    assert took < 10
    for mine, other in ((first, straight.search_trial("lora", 0)), (second, straight.search_trial("full", 0))):
        record, expected = mine.read_record(), other.read_record()
        assert record is not None
        assert expected is not None
        assert (record.resumed, expected.resumed) == (1, 0)
        assert found(record) == found(expected)
        assert steps(mine) == steps(other)
        assert not mine.training_state.exists()
