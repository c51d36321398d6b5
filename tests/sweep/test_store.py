"""What a trial's directory keeps for a trial that is handed out again, and what it lets go."""

import os
from pathlib import Path

import pytest
from toy_runner import record, toy_study

from sweep.config import configure
from sweep.errors import RunDirectoryError
from sweep.openings import read_openings
from sweep.store import RunDirectory, TrialDirectory, read_config, read_eased, read_record, write_record

STATE = "training-state.safetensors"


@pytest.fixture
def directory(tmp_path: Path) -> TrialDirectory:
    """Everything that a trial may leave behind."""
    here = RunDirectory(tmp_path).search_trial("lora", 7)
    for name in ("checkpoint", "eval/own", ".checkpoint.partial"):
        (here.path / name).mkdir(parents=True)
    for name in ("config.yaml", "steps.jsonl", STATE, f".{STATE}.123.tmp", "checkpoint/adapter", "eval/own/samples"):
        (here.path / name).write_text("something")
    return here


def left(directory: TrialDirectory) -> set[str]:
    return {path.name for path in directory.path.iterdir()}


def test_a_trial_that_is_handed_out_again_finds_what_it_goes_on_from_and_nothing_else(
    directory: TrialDirectory,
) -> None:
    directory.clear()

    assert left(directory) == {STATE, "steps.jsonl", "checkpoint"}


def test_without_a_state_nothing_stays(directory: TrialDirectory) -> None:
    directory.training_state.unlink()

    directory.clear()

    assert left(directory) == set()


def test_a_trial_that_was_never_begun_has_nothing_to_clear(tmp_path: Path) -> None:
    TrialDirectory(tmp_path / "nowhere").clear()

    assert not (tmp_path / "nowhere").exists()


def test_a_trial_that_has_a_record_goes_on_no_more(directory: TrialDirectory, tmp_path: Path) -> None:
    config = configure(toy_study(), "lora", {}, phase="search", number=7, seed=0, data_root=tmp_path)

    write_record(directory, record(config, value=1.0))

    assert not directory.training_state.exists()
    assert directory.read_record() is not None


def test_states_that_a_kill_left_behind_are_removed_and_those_of_open_trials_stay(
    directory: TrialDirectory, tmp_path: Path
) -> None:
    ended = RunDirectory(tmp_path).confirm_trial("lora", 1)
    ended.path.mkdir(parents=True)
    for path in (ended.record, ended.training_state):
        path.write_text("something")

    RunDirectory(tmp_path).forget_states()

    assert left(ended) == {"record.json"}
    assert STATE in left(directory)
    assert f".{STATE}.123.tmp" not in left(directory)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_no_file_of_a_run_directory_is_read_without_an_end(tmp_path: Path, kind: str) -> None:
    run, endless = RunDirectory(tmp_path), tmp_path / "endless"
    {
        "pipe": lambda: os.mkfifo(endless),
        "device": lambda: endless.symlink_to("/dev/zero"),
        "sparse": lambda: (endless.touch(), os.truncate(endless, 2**40)),
    }[kind]()

    for read in (read_record, read_config, read_eased):
        with pytest.raises(RunDirectoryError, match=r"no regular file|larger than"):
            read(endless)
    run.environment.symlink_to(endless)
    run.test_openings.symlink_to(endless)
    with pytest.raises(RunDirectoryError, match=r"no regular file|larger than"):
        run.read_environment()
    with pytest.raises(RunDirectoryError, match=r"no regular file|larger than"):
        read_openings(run)
