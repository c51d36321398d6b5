"""A study that is killed at random moments and run again by the same command until it ends, and what that cost it."""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from killed_cluster import SEAT, WORKER, KilledCluster
from killed_contents import Contents, contents, differences, running
from killed_processes import hears, is_alive, is_kind, marked, name_of
from killed_progress import marks, phase_of
from killed_workloads import Workload

ORPHAN_SECONDS = 30.0
"""After which nothing of a run may live whose driver was killed."""
TRACKER_SECONDS = 5.0
"""In which Python's own tracker of shared resources notices that those it served have ended."""
STOP_SECONDS = 10.0
"""In which a driver that is told to stop has saved and ended."""
LIMIT_SECONDS = 400.0
VICTIMS = ("driver", "driver", "worker", "group", "machine")
CLUSTER_VICTIMS = ("driver", "driver", "worker", "seat", "node", "machine")
SPARED = frozenset({"worker", "seat", "node"})
"""Of whom the driver is no part: it goes on."""
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
BROKEN = re.compile(r"Traceback|not a record that|malformed|cannot be understood|Fatal Python")
COUNTS = (
    "kills", "resumes", "repeated", "lost", "corrupt", "differences", "orphans", "slow stops", "running",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A study that ran through, and how long its parts took."""

    contents: Contents
    seconds: float
    startup_seconds: float
    """Until the first trial was handed out."""


@dataclass(frozen=True)
class Kill:
    """One kill."""

    phase: str
    victim: str
    signal: str
    seconds: float
    """Since the start of the command."""
    is_at_an_edge: bool = False
    """Whether Python itself took the signal: before a line of ours was read, or after the last."""


@dataclass
class Episode:
    """What became of one study that was killed again and again."""

    workload: str
    seed: int
    kills: list[Kill] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often, by phase and what."""
    words: list[str] = field(default_factory=list)
    """What is worth being looked at."""
    seconds: float = 0.0

    def note(self, phase: str, what: str, words: str, times: int = 1) -> None:
        self.counts[phase, what] += times
        if times:
            self.words.append(f"{phase}: {what}: {words}")

    def total(self, what: str) -> int:
        return sum(count for (_, name), count in self.counts.items() if name == what)

    @property
    def is_clean(self) -> bool:
        return not any(self.total(what) for what in COUNTS if what not in {"kills", "resumes"})


def run_through(workload: Workload, place: Path, model: Path, cluster: KilledCluster | None = None) -> Reference:
    """Run a study without a kill. Raises RuntimeError with what it said where it fails."""
    run = workload.lay_out(place, model)
    began = time.monotonic()
    process = workload.start(place, "reference", None if cluster is None else cluster.address)
    startup = 0.0
    while process.poll() is None:
        if not startup and run.baseline.config.exists():
            startup = time.monotonic() - began
        if time.monotonic() - began > LIMIT_SECONDS:
            process.kill()
        time.sleep(0.02)
    if process.returncode != 0:
        raise RuntimeError(f"{workload.name} did not run through: {(place / 'said').read_text()[-3000:]}")
    return Reference(contents(run, tolerance=workload.tolerance), time.monotonic() - began, startup)


class Tormentor:
    """Kills one study's command again and again, and watches what is left of it."""

    def __init__(  # noqa: PLR0917
        self,
        workload: Workload,
        reference: Reference,
        place: Path,
        model: Path,
        seed: int,
        cluster: KilledCluster | None = None,
    ) -> None:
        self._workload, self._reference, self._place, self._cluster = workload, reference, place, cluster
        self._run = workload.lay_out(place, model)
        self._random = random.Random(seed)  # noqa: S311 - a moment, not a secret
        self._mark = uuid.uuid4().hex
        self._left: list[tuple[psutil.Process, float, str]] = []
        self._marks = 0
        """How far the study was when its command was last started."""
        self.episode = Episode(workload.name, seed)

    def torment(self, kills: int, until: float) -> Episode:
        """Kill so often, or until a time on the monotonic clock; then let the study end, and look at it."""
        began, phase, limit = time.monotonic(), "", time.monotonic() + LIMIT_SECONDS + kills * 60
        while True:
            kept = self._records()
            if phase:
                self.episode.counts[phase, "resumes"] += 1
            wanted = len(self.episode.kills) < kills and time.monotonic() < until
            address = None if self._cluster is None else self._cluster.address
            self._marks = marks(self._run)
            process = self._workload.start(self._place, self._mark, address)
            killed = self._kill_at_some_moment(process) if wanted else None
            code = self._wait(process, killed, limit)
            phase = killed.phase if killed else phase or "end"
            self._judge(code, killed, phase)
            again = [name for name, text in self._records().items() if name in kept and kept[name] != text]
            self.episode.note(phase, "repeated", ", ".join(again), len(again))
            if code == 0 or time.monotonic() > limit or (killed is None and not wanted):
                break
        self._look_at_the_end(code)
        self.episode.seconds = time.monotonic() - began
        return self.episode

    def _kill_at_some_moment(self, process: "subprocess.Popen[bytes]") -> Kill | None:
        """Wait for a moment and kill; nothing where the command ended before."""
        began, draw = time.monotonic(), self._random
        if draw.random() < 0.35:
            moment, wanted, later = draw.uniform(0.5, self._reference.startup_seconds), 0, 0.0
        else:
            trials = max(1, len(self._reference.contents["trials"]))
            unit = (self._reference.seconds - self._reference.startup_seconds) / trials
            moment, wanted, later = 0.0, marks(self._run) + draw.randint(1, 5), draw.uniform(0, unit)
        while process.poll() is None:
            waited = time.monotonic() - began
            if waited >= moment and marks(self._run) >= wanted:
                time.sleep(later)
                break
            if waited > 3 * self._reference.seconds + LIMIT_SECONDS:
                break
            time.sleep(0.02)
        return self._kill(process, began) if process.poll() is None else None

    def _kill(self, process: "subprocess.Popen[bytes]", began: float) -> Kill | None:
        victims = VICTIMS if self._cluster is None else CLUSTER_VICTIMS
        victim, name = self._random.choice(victims), self._random.choice(tuple(SIGNALS))
        phase, waited = phase_of(self._run), time.monotonic() - began
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            driver = psutil.Process(process.pid)
            edge = not hears(process.pid, SIGNALS[name]) and (
                phase == self._workload.last_phase or marks(self._run) == self._marks
            )
            family = [*driver.children(recursive=True), *self._away()]
            one = next((one for one in family if is_kind(one, SEAT if victim == "seat" else WORKER)), None)
            if victim in {"worker", "seat"} and one is None:
                victim = "driver"
            if victim in {"worker", "machine", "seat", "node"} and (name == "SIGINT" or self._cluster is not None):
                # A worker is deaf to it, because a terminal sends it to everybody; a node is not asked at all.
                name = "SIGKILL"
            if victim in {"worker", "seat"} and one is not None:
                one.send_signal(SIGNALS[name])
            elif victim == "node" and self._cluster is not None:
                self._cluster.lose_node()
            elif victim == "driver":
                process.send_signal(SIGNALS[name])
            elif victim == "group":
                os.killpg(process.pid, SIGNALS[name])
            else:
                for member in (driver, *family):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.send_signal(SIGNALS[name])
                if self._cluster is not None:
                    self._cluster.lose_everything()
            if victim not in SPARED:
                self._left += [(member, time.monotonic(), phase) for member in family]
            kill = Kill(phase, victim, name, round(waited, 3), edge)
            self.episode.kills.append(kill)
            self.episode.counts[phase, "kills"] += 1
            return kill
        return None

    def _wait(self, process: "subprocess.Popen[bytes]", killed: Kill | None, limit: float) -> int:
        began, warned = time.monotonic(), killed is None or killed.victim in SPARED
        while process.poll() is None:
            self._watch_orphans()
            if not warned and time.monotonic() - began > STOP_SECONDS:
                warned = True
                self.episode.note(killed.phase if killed else "", "slow stops", f"{killed}")
            if time.monotonic() > limit:
                self.episode.note("end", "corrupt", "it did not end, and was ended")
                process.kill()
            time.sleep(0.02)
        return process.returncode

    def _judge(self, code: int, killed: Kill | None, phase: str) -> None:
        """Whether the command ended as it should have, and said nothing that it should not."""
        said = self._place / "said"
        text = said.read_text("utf-8", errors="replace")
        said.replace(self._place / f"said-{len(self.episode.kills)}-{time.monotonic_ns()}")
        expected = {0}
        if killed is not None and killed.victim not in SPARED:
            number = SIGNALS[killed.signal]
            expected |= {-number} if number == signal.SIGKILL else {130}
            expected |= {-number} if killed.is_at_an_edge else set()
        if code not in expected:
            self.episode.note(phase, "corrupt", f"exit code {code} after {killed}: {text[-600:]}")
        elif BROKEN.search(text):
            self.episode.note(phase, "corrupt", f"after {killed}: {text[-1500:]}")

    def _watch_orphans(self) -> None:
        still = []
        for one, since, phase in self._left:
            if not is_alive(one):
                continue
            if time.monotonic() - since > ORPHAN_SECONDS:
                self.episode.note(phase, "orphans", name_of(one))
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            else:
                still.append((one, since, phase))
        self._left = still

    def _look_at_the_end(self, code: int) -> None:
        while self._left:
            self._watch_orphans()
            time.sleep(0.1)
        # A worker of a driver that ended by itself is given no time at all.
        for one in marked(self._mark):
            if "resource_tracker" in name_of(one):
                with contextlib.suppress(psutil.TimeoutExpired):
                    one.wait(TRACKER_SECONDS)
                    continue
            self.episode.note("end", "orphans", name_of(one))
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        if self._cluster is not None and not self._cluster.has_gone(TRACKER_SECONDS):
            self.episode.note("end", "orphans", "on the cluster")
        if code != 0:
            return
        tolerance = self._workload.tolerance
        found, expected = contents(self._run, tolerance=tolerance), self._reference.contents
        lost = expected["trials"].keys() - found["trials"].keys()
        self.episode.note("end", "lost", ", ".join(sorted(lost)), len(lost))
        others = list(differences(expected, found, tolerance=tolerance))
        self.episode.note("end", "differences", "; ".join(others[:5]), len(others))
        self.episode.note("end", "running", "in Optuna", running(self._run))

    def _away(self) -> list[psutil.Process]:
        """What the study has on the cluster."""
        if self._cluster is None:
            return []
        return [*self._cluster.processes(SEAT), *self._cluster.processes(WORKER)]

    def _records(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self._run.path.rglob("record.json")}
