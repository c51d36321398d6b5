"""What ended a worker that was killed: the kernel's count and the memory that was free decide, and both are said."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweep.pool.evidence import MemoryEvidence

MEBIBYTE = 2**20
MEMORY = Path("/sys/fs/cgroup/memory")
HUNGRY = """
import sys
sys.stdin.readline()
held = []
while True:
    held.append(bytearray(b"x") * 2**20)
"""


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group whose processes may have 64 MiB together."""
    group = MEMORY / f"sweep-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 * MEBIBYTE))
    except OSError:
        pytest.skip("needs a memory control group of its own")
    yield group
    group.rmdir()


def test_the_kernels_own_count_says_that_memory_ran_out(small_group: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HUNGRY], stdin=subprocess.PIPE)
    (small_group / "cgroup.procs").write_text(str(process.pid))
    evidence = MemoryEvidence.of(process.pid)
    assert evidence.counter == small_group / "memory.oom_control"

    process.communicate(b"go\n", timeout=60)

    assert process.returncode == -signal.SIGKILL
    found = evidence.find()
    assert found.ran_out
    assert found.why == "by the kernel, because memory ran out: its count of such kills has risen from 0 to 1"


def test_somebody_elses_kill_is_not_taken_for_want_of_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", HUNGRY], stdin=subprocess.PIPE)
    evidence = MemoryEvidence.of(process.pid)
    evidence.look()
    process.kill()
    process.communicate()

    found = evidence.find()

    assert not found.ran_out
    assert found.why.startswith("and not for want of memory, it seems: ")
    assert "GB were free shortly before" in found.why


def test_little_free_memory_is_called_a_likely_reason_and_no_more(tmp_path: Path) -> None:
    evidence = MemoryEvidence.of(os.getpid(), proc=tmp_path, cgroups=tmp_path)
    assert evidence.counter is None
    evidence.look()
    at, _ = evidence.looks[-1]
    evidence.looks[-1] = (at, psutil.virtual_memory().total // 100)

    found = evidence.find()

    assert found.ran_out
    assert found.why.startswith("most likely because memory ran out: only ")
    assert found.why.endswith("though no count of the kernel's could be read")


def test_nothing_is_thought_where_nothing_is_known(tmp_path: Path) -> None:
    found = MemoryEvidence.of(os.getpid(), proc=tmp_path, cgroups=tmp_path).find()

    assert not found.ran_out
    assert found.why == "and whether memory had run out is not known: no count of the kernel's could be read"


@pytest.mark.parametrize(
    ("group", "counter", "lines"),
    [
        # Version 2, as a machine shows it and as a container does; then both versions at once, and version 1.
        ("0::/user.slice/a\n", "user.slice/a/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 7\n"),
        ("0::/../../b\n", "memory.events", "oom_kill 2\n"),
        ("4:memory:/a\n0::/\n", "memory/a/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ("3:cpu,memory:/a\n", "memory/a/memory.oom_control", "oom_kill 2\n"),
    ],
)
def test_the_count_is_that_of_the_processs_own_group(tmp_path: Path, group: str, counter: str, lines: str) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "7").mkdir(parents=True)
    (proc / "7" / "cgroup").write_text(group)
    (proc / "vmstat").write_text("oom_kill 50\n")
    file = cgroups / counter
    file.parent.mkdir(parents=True)
    file.write_text(lines)

    evidence = MemoryEvidence.of(7, proc=proc, cgroups=cgroups)

    assert (evidence.counter, evidence.before) == (file, 2)
    file.unlink()
    assert MemoryEvidence.of(7, proc=proc, cgroups=cgroups).before == 50
