"""Whether a process that was killed was killed because the machine ran out of memory.

The kernel says nothing to anybody when it kills for want of memory but in a counter: that of the process's own control
group, else that of the whole machine. A program that keeps memory free by killing, such as systemd-oomd, leaves no
trace there; then there is only how little was free shortly before. What is known and what is thought is said apart.
"""

import re
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import psutil

GIGABYTE = 10**9
RECENT_SECONDS = 10.0
"""How long before its end memory that was scarce counts as the reason."""
LOOK_SECONDS = 0.5
"""Between two looks at the machine's memory."""
SCARCE = 0.03
"""Share of the machine's memory: where less is free, memory is thought to have run out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a killed process."""

    ran_out: bool
    """Whether memory ran out."""
    why: str
    """What speaks for it or against it, to follow `was killed (SIGKILL)`."""


@dataclass(slots=True)
class MemoryEvidence:
    """Watches what would tell that a process was killed for want of memory."""

    counter: Path | None
    """Where the kernel counts its kills for want of memory, in a line `oom_kill NUMBER`."""
    before: int | None
    """What it had counted when the process began."""
    looks: deque[tuple[float, int]] = field(default_factory=deque)
    """When the machine's memory was looked at, and bytes that were free."""

    @classmethod
    def of(
        cls, pid: int | None, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
    ) -> "MemoryEvidence":
        """Begin to watch a process."""
        for counter in _counters(pid, proc, cgroups):
            if (before := _kills(counter)) is not None:
                return cls(counter, before)
        return cls(None, None)

    def look(self) -> None:
        """Note how much memory is free, where that was not noted just now."""
        now = time.monotonic()
        if self.looks and now - self.looks[-1][0] < LOOK_SECONDS:
            return
        self.looks.append((now, psutil.virtual_memory().available))
        while now - self.looks[0][0] > RECENT_SECONDS:
            self.looks.popleft()

    def find(self) -> Finding:
        """What is known now that the process has been killed."""
        now = None if self.counter is None else _kills(self.counter)
        if now is not None and self.before is not None and now > self.before:
            return Finding(
                ran_out=True,
                why="by the kernel, because memory ran out: its count of such kills has risen "
                f"from {self.before} to {now}",
            )
        counted = "no count of the kernel's could be read" if now is None else "the kernel has counted no kill for it"
        total = psutil.virtual_memory().total
        since = time.monotonic() - RECENT_SECONDS
        free = min((size for at, size in self.looks if at >= since), default=None)
        if free is None:
            return Finding(ran_out=False, why=f"and whether memory had run out is not known: {counted}")
        there = f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB were free shortly before"
        if free < SCARCE * total:
            return Finding(ran_out=True, why=f"most likely because memory ran out: only {there}, though {counted}")
        return Finding(ran_out=False, why=f"and not for want of memory, it seems: {there}, and {counted}")


def _counters(pid: int | None, proc: Path, cgroups: Path) -> list[Path]:
    """Where kills may be counted, the process's own group first."""
    found = []
    try:
        lines = (proc / str(pid) / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        # Inside a container its own group is the root of what it sees, and may have a name that leads out of it.
        own = "" if ".." in group else group.lstrip("/")
        if controllers == "":
            found += [cgroups / own / "memory.events", cgroups / "memory.events"]
        elif "memory" in controllers.split(","):
            found += [cgroups / "memory" / own / "memory.oom_control", cgroups / "memory" / "memory.oom_control"]
    return [*found, proc / "vmstat"]


def _kills(counter: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", counter.read_text("utf-8"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found.group(1))
