"""What a trial's directory keeps for a trial that is handed out again, and what it lets go."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runner import record, toy_study

from reports import render
from sweep.config import configure
from sweep.errors import RunDirectoryError
from sweep.openings import read_openings, record_opening
from sweep.store import RunDirectory, TrialDirectory, read_config, read_eased, read_record, write_record
from sweep.study.lease import leased

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


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory and a file of somebody's, which no run may touch."""
    place = tmp_path / "elsewhere"
    for name in ("figures", "tables", "cards"):
        (place / name).mkdir(parents=True)
        (place / name / "mine").write_text("mine")
    return place


def write_report(run: RunDirectory) -> None:
    render.build(run)


def lease(run: RunDirectory) -> None:
    with leased(run):
        pass


def open_test_data(run: RunDirectory) -> None:
    record_opening(run, by="eval", who="somebody", tasks=("own",))


@pytest.mark.parametrize("write", [write_report, lease, open_test_data])
@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("report", "."),
        ("report/figures", "figures"),
        ("test_openings.jsonl", "tables/mine"),
        (".lock", "tables/mine"),
        ("worker-0.log", "tables/mine"),
        ("search/lora/0001", "gone"),
    ],
)
def test_nothing_is_written_through_a_link_that_leads_out(
    tmp_path: Path, elsewhere: Path, name: str, to: str, write: Callable[[RunDirectory], None]
) -> None:
    run = RunDirectory(tmp_path / "run")
    link = run.path / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / to)

    with pytest.raises(RunDirectoryError, match=f"{link}: a link that leads out"):
        write(run)

    assert {path.read_text() for path in elsewhere.glob("*/*")} == {"mine"}
    assert len(list(elsewhere.glob("*/*"))) == 3


def test_links_within_a_run_directory_and_to_it_are_no_ways_out(tmp_path: Path) -> None:
    (tmp_path / "disk" / "search").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "inside").symlink_to("search")
    (tmp_path / "disk" / "circle").symlink_to("circle")

    RunDirectory(tmp_path / "run").refuse_ways_out()


def test_a_path_without_a_run_is_told_from_one_with_runs_in_it(tmp_path: Path) -> None:
    (tmp_path / "runs/tickets").mkdir(parents=True)
    (tmp_path / "runs/tickets/study.yaml").touch()
    (tmp_path / "empty").mkdir()
    near = re.escape("so this is not a run directory. Run directories in it: tickets.")

    with pytest.raises(RunDirectoryError, match=near):
        RunDirectory(tmp_path / "runs").read_study()
    with pytest.raises(RunDirectoryError, match=r"so this is not a run directory\.$"):
        RunDirectory(tmp_path / "empty").read_study()
    with pytest.raises(RunDirectoryError, match=r"no such directory\. `sweep run` makes run directories, in runs/"):
        RunDirectory(tmp_path / "nowhere").read_study()
