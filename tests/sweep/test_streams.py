"""What becomes of a command whose output, or terminal, goes away: a study is not ended by it, or is saved first."""

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from killed_workloads import WORKLOADS

from sweep.store import RunDirectory

TOY = WORKLOADS["toy"]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return TOY.lay_out(tmp_path / "place", tmp_path)


def command(run: RunDirectory, ending: str, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """`sweep run` in a shell; `ending` says where it prints."""
    place = run.path.parents[1]
    environment = {**os.environ, "SWEEP_CACHE": str(place / "cache"), "TOY_SECONDS": str(seconds)}
    line = f'exec "$@" {ending}'
    return subprocess.Popen(
        ["bash", "-c", line, "bash", *TOY.command, *TOY.arguments],  # noqa: S607 - whichever there is
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


GONE = "Standard output cannot be written any more; the study goes on, and `sweep status` shows it.\n"


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("> >(head -1 >/dev/null)", GONE),
        pytest.param(">/dev/full", GONE, marks=pytest.mark.slow),
        (">&-", ""),
        pytest.param("<&- >&- 2>&-", "", marks=pytest.mark.slow),
    ],
    ids=["nobody reads", "no room", "closed", "all closed"],
)
def test_a_study_goes_on_where_what_it_prints_goes_nowhere(run: RunDirectory, ending: str, said: str) -> None:
    process = command(run, ending)
    _, complained = process.communicate(timeout=120)

    assert (process.returncode, complained) == (0, said)
    assert (run.report / "index.html").is_file()
    assert run.optuna_db.read_bytes().startswith(b"SQLite format 3")


def test_a_command_whose_answer_has_no_room_says_so_in_one_line(run: RunDirectory) -> None:
    place = run.path.parents[1]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*TOY.command, "init"], cwd=place, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (
        1,
        "standard output: cannot be written (No space left on device).\n",
    )


def test_a_terminal_that_is_closed_ends_a_study_saved_and_leaves_no_process(run: RunDirectory) -> None:
    place = run.path.parents[1]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        environment = {**os.environ, "SWEEP_CACHE": str(place / "cache"), "TOY_SECONDS": "30"}
        # Whoever runs the tests may have them, and what they start, ignore what is to be tried.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(TOY.command[0], [*TOY.command, *TOY.arguments], environment)  # noqa: S606 - not of a shell
    try:
        read_until_a_trial_runs(terminal, place / "cache" / "calls")
        started = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    finally:
        os.close(terminal)

    _, left = psutil.wait_procs(started, timeout=20)

    assert left == []
    # Of a driver that was killed it would name the owner.
    assert (run.path / ".lock").read_text() == ""
    assert not run.baseline.record.exists()


def read_until_a_trial_runs(terminal: int, calls: Path) -> None:
    until = time.monotonic() + 60
    while not calls.exists() and time.monotonic() < until:
        readable, _, _ = select.select([terminal], [], [], 0.1)
        if readable:
            with suppress(OSError):
                os.read(terminal, 65536)
    assert calls.exists()
