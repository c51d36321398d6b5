"""What lies on the disk is damaged, or the disk itself gives way: one line says so, and nothing is lost."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from lab import Lab, name_of, random_study
from reported_run import build_run
from reported_run import toy_study as reported_study
from toy_runner import ToyRunner, build_toy

from sweep.api import build_report
from sweep.errors import DiskError, RunDirectoryError
from sweep.events import Event, Notice, TrialEnded
from sweep.study.phases import Workers, run_study

SPEC = random_study(budget={"trials_per_method": 2, "confirm_seeds": 1})
SEARCHED = {"search lora/0", "search lora/1", "search full/0", "search full/1"}
CONFIRMED = {"confirm None/0", "confirm lora/1", "confirm full/1"}


def start(lab: Lab, fault: Callable[[], None], *, at: str = "search full/0", **toy: object) -> None:
    """Run a study; the fault happens when a trial has ended."""

    def watch(event: Event) -> None:
        if isinstance(event, TrialEnded) and name_of(event.record.config) == at:
            fault()

    runner = ToyRunner(lab.path / "calls", **toy)
    run_study(
        SPEC,
        run=lab.run,
        data_root=lab.path,
        cache=lab.path,
        on_event=watch,
        workers=Workers(partial(build_toy, runner)),
    )


def records(lab: Lab) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in lab.run.path.rglob("record.json")}


def goes_on(lab: Lab, before: dict[Path, bytes], *, again: set[str] = frozenset()) -> list[Event]:
    """Let a study run to its end; no trial that had ended is run again."""
    events = lab.start(SPEC)
    assert {path: path.read_bytes() for path in before} == before
    calls = Counter(lab.calls)
    assert {name for name, count in calls.items() if count > 1} == again
    assert calls.keys() == {"baseline None/0"} | SEARCHED | CONFIRMED
    assert {trial.state.name for method in ("lora", "full") for trial in lab.optuna(method)} == {"COMPLETE"}
    return events


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False)  # noqa: S607
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # noqa: S607


def fill(place: Path) -> None:
    """Leave not a byte."""
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)


@pytest.mark.parametrize(
    "at", ["search full/0", *(pytest.param(at, marks=pytest.mark.slow) for at in ("baseline None/0", "confirm lora/1"))]
)
def test_a_disk_that_is_full_stops_the_study_in_one_line_and_costs_no_trial(tmpfs: Path, at: str) -> None:
    lab = Lab(tmpfs)

    with pytest.raises(DiskError) as stopped:
        start(lab, partial(fill, tmpfs), at=at)
    (tmpfs / "filler").unlink()
    kept = records(lab)

    said = one_line(stopped.value)
    assert re.search(r"(No space left on device|database or disk is full).*Everything that ended is saved", said)
    assert kept
    ran = Counter(lab.calls)
    goes_on(lab, kept, again={name for name, count in Counter(lab.calls).items() if count > ran[name] and ran[name]})


def test_a_file_that_may_not_grow_stops_the_study_in_one_line(lab: Lab) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    try:
        with pytest.raises(DiskError) as stopped:
            start(lab, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert re.search(r"File too large|disk is full|disk I/O error", one_line(stopped.value))
    kept, ran = records(lab), Counter(lab.calls)
    assert len(kept) >= 3
    lab.start(SPEC)
    assert {path: path.read_bytes() for path in kept} == kept
    assert sum(Counter(lab.calls).values()) <= sum(ran.values()) + 8 - len(kept)


def test_a_run_directory_that_is_taken_away_is_missed_and_gone_on_with_when_it_is_back(lab: Lab) -> None:
    away = lab.path / "away"

    with pytest.raises(DiskError, match=r"cannot be written \(it is gone\)"):
        start(lab, lambda: lab.run.path.rename(away))
    assert not lab.run.path.exists(), "nothing is written where it was"
    away.rename(lab.run.path)
    kept = records(lab)

    assert len(kept) == 3
    goes_on(lab, kept, again={"search lora/1"} & set(lab.calls))


def test_a_run_directory_that_cannot_be_written_is_refused_in_one_line(tmpfs: Path) -> None:
    lab = Lab(tmpfs)
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)  # noqa: S607

    with pytest.raises(
        RunDirectoryError, match=r"cannot be written \(Read-only file system\)\. Make it writable"
    ) as no:
        lab.start(SPEC)

    one_line(no.value)


def test_a_trial_whose_worker_found_the_disk_full_is_run_again_and_has_not_failed(lab: Lab) -> None:
    with pytest.raises(DiskError, match=r"No space left on device"):
        start(lab, lambda: None, full_disk=("lora/1",))
    kept = records(lab)

    assert not lab.run.search_trial("lora", 1).record.exists()
    goes_on(lab, kept, again={"search lora/1"})


@pytest.mark.parametrize(
    "damage", ["truncated", *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("garbage", "empty"))]
)
def test_a_damaged_record_is_refused_by_name_and_once_removed_its_trial_alone_runs_again(lab: Lab, damage: str) -> None:
    lab.start(SPEC)
    path = lab.run.search_trial("lora", 0).record
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:1000], "garbage": b"\xff\x00" * 50, "empty": b""}[damage])

    with pytest.raises(RunDirectoryError) as refused:
        lab.start(SPEC)

    assert one_line(refused.value).startswith(f"{path}: damaged, or not a record that this version can read (")
    assert "remove it with the run's optuna.db" in str(refused.value)
    path.unlink()
    lab.run.optuna_db.unlink()
    goes_on(lab, records(lab), again={"search lora/0"})


@pytest.mark.parametrize(
    "damage", ["truncated", *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("garbage", "header"))]
)
def test_a_damaged_database_is_set_aside_and_built_anew_from_the_records(lab: Lab, damage: str) -> None:
    start_again = lab.run.optuna_db
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 1}))
    whole = start_again.read_bytes()
    cut = {"truncated": whole[: len(whole) // 2], "garbage": b"not a database" * 99, "header": b"x" * 100 + whole[100:]}
    start_again.write_bytes(cut[damage])

    events = lab.start(SPEC)

    notices = [event.message for event in events if isinstance(event, Notice)]
    assert notices[0] == ("optuna.db was damaged; it is kept as optuna.db.damaged-1, and built anew from the records.")
    assert (lab.run.path / "optuna.db.damaged-1").read_bytes() == cut[damage]
    assert [len(lab.optuna(method)) for method in ("lora", "full")] == [2, 2]
    assert Counter(lab.calls)["search lora/0"] == 1


@pytest.mark.parametrize(
    "to",
    [
        "search/lora/copy",
        *(pytest.param(to, marks=pytest.mark.slow) for to in ("search/lora/0001", "search/full/0000")),
    ],
)
def test_a_trial_that_was_copied_within_its_run_does_not_count_twice(lab: Lab, to: str) -> None:
    lab.start(SPEC)
    calls, one = lab.calls, lab.run.search_trial("lora", 0).path
    place = lab.run.path / to
    place.mkdir(exist_ok=True)
    shutil.copy(one / "record.json", place)

    with pytest.raises(RunDirectoryError) as refused:
        lab.start(random_study(budget={"trials_per_method": 3, "confirm_seeds": 1}))

    said = f"{place / 'record.json'}: the record of another trial, whose place is search/lora/0000; "
    assert one_line(refused.value).startswith(said)
    assert lab.calls == calls


def test_a_trial_that_was_lost_is_named_and_once_its_database_is_removed_another_takes_its_place(lab: Lab) -> None:
    lab.start(SPEC)
    shutil.rmtree(lab.run.search_trial("lora", 0).path)

    with pytest.raises(RunDirectoryError) as refused:
        lab.start(SPEC)

    assert one_line(refused.value).startswith("optuna.db: trial 0 of Optuna study toy/lora has ended, and this run ")
    assert "Bring search/lora/0000 back from a copy; or remove optuna.db" in str(refused.value)
    lab.run.optuna_db.unlink()
    lab.start(SPEC)
    assert [record.config.number for record in lab.run.search_records("lora")] == [1, 2]
    assert [trial.state.name for trial in lab.optuna("lora")] == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("name", ["report", "test_openings.jsonl"])
def test_what_lies_in_the_way_of_a_report_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    run = build_run(tmp_path, reported_study(("lora",), trials=1, seeds=1))
    path = run.path / name
    path.unlink(missing_ok=True)
    # Neither is what it should be: a file for a directory, and the other way round.
    path.touch() if name == "report" else path.mkdir()

    with pytest.raises((DiskError, RunDirectoryError)) as refused:
        build_report(run)

    assert str(path) in one_line(refused.value)
    assert re.search(
        r"cannot be (written \((File exists|Not a directory): |read: Is a directory\.)", str(refused.value)
    )


@pytest.mark.parametrize("name", ["study.yaml", "environment.json"])
def test_a_damaged_file_of_the_study_is_refused_in_one_line(lab: Lab, name: str) -> None:
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 0}))
    path = lab.run.path / name
    path.write_bytes(path.read_bytes()[:60] + b"\x00{")

    with pytest.raises(RunDirectoryError) as refused:
        lab.start(SPEC)

    assert one_line(refused.value).startswith(f"{path}: damaged")


def test_a_damaged_config_of_a_trial_that_had_not_ended_is_written_anew(lab: Lab) -> None:
    with contextlib.suppress(DiskError):
        start(lab, lambda: None, full_disk=("lora/1",))
    config = lab.run.search_trial("lora", 1).config
    config.write_bytes(config.read_bytes()[:40])

    goes_on(lab, records(lab), again={"search lora/1"})

    assert "training:" in config.read_text()
