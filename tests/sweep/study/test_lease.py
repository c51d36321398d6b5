"""One driver on one run directory: who is refused, and by whom nobody is kept out."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from sweep.errors import RunDirectoryError
from sweep.store import RunDirectory
from sweep.study.lease import Owner, leased, myself

HOLD = """
import sys
from pathlib import Path
from sweep.store import RunDirectory
from sweep.study.lease import leased
with leased(RunDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


@contextmanager
def holder(run: RunDirectory) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def claim(run: RunDirectory, **changes: object) -> None:
    """Write an owner down whose lock does not reach here."""
    (run.path / ".lock").write_text(myself().model_copy(update=changes).model_dump_json())


def test_a_second_driver_is_refused_in_one_line_that_names_the_first(run: RunDirectory) -> None:
    with holder(run) as first, pytest.raises(RunDirectoryError) as refused, leased(run):
        pass

    line = rf"{re.escape(str(run.path))}: in use by another `sweep run` \(process {first.pid}\)\. Wait for it, or .*\."
    assert re.fullmatch(line, str(refused.value))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_driver_keeps_nobody_out_not_even_as_a_zombie(run: RunDirectory, number: signal.Signals) -> None:
    with holder(run) as first:
        first.send_signal(number)
        # Ended, and not asked about: it stays a zombie until then.
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
        assert Owner.model_validate_json((run.path / ".lock").read_text()).pid == first.pid

        with leased(run):
            assert Owner.model_validate_json((run.path / ".lock").read_text()).pid == os.getpid()


def test_a_zombie_is_no_owner_where_there_are_no_locks(run: RunDirectory) -> None:
    with holder(run) as process:
        owner = Owner.model_validate_json((run.path / ".lock").read_text())
        alive = owner.is_gone
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (alive, owner.is_gone) == (False, True)


def test_a_number_that_came_again_is_not_the_owner() -> None:
    me = myself()

    assert not me.is_gone
    assert me.model_copy(update={"began": me.began - 100}).is_gone


def test_an_owner_of_another_boot_of_this_machine_keeps_nobody_out(run: RunDirectory) -> None:
    claim(run, boot="before the power went")
    began = time.monotonic()

    with leased(run):
        assert time.monotonic() - began < 5


def test_an_owner_on_another_machine_is_refused_as_long_as_its_heart_beats(run: RunDirectory) -> None:
    claim(run, host="node7", boot="another", pid=4)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.2):
            os.utime(run.path / ".lock")

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(RunDirectoryError, match=r"\(process 4 on node7\)"), leased(run, watch_seconds=20):
            pass
    finally:
        ended.set()
        heart.join()

    with leased(run, watch_seconds=1.5):
        assert Owner.model_validate_json((run.path / ".lock").read_text()).host == socket.gethostname()


def test_a_lease_beats_while_it_is_held_and_is_empty_afterwards(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.study.lease.HEARTBEAT_SECONDS", 0.05)
    lock = run.path / ".lock"

    with leased(run):
        first, until = lock.stat().st_mtime_ns, time.monotonic() + 10
        while lock.stat().st_mtime_ns == first:
            assert time.monotonic() < until
            time.sleep(0.05)

    assert lock.read_text() == ""


def test_a_lock_file_that_says_nothing_sensible_keeps_nobody_out(run: RunDirectory) -> None:
    (run.path / ".lock").write_text('{"pid": "')

    with leased(run):
        pass
