"""What is measured, a point at a time, and the file that keeps it: a part goes on where an earlier call stopped.

A line stands alone: it says what was measured, when, on which machine and with which versions. What was measured on
another device is left as it is and measured again on this one.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from evals.models.memory import is_out_of_memory
from sweep.models import release_memory

Values = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One thing to measure."""

    name: str
    """Its own within the part."""
    expected_seconds: float
    """What it will take, roughly: it is begun only where that much is left."""
    measure: Callable[[], Values]


@dataclass(frozen=True)
class Row:
    """One thing that was measured."""

    name: str
    values: Values
    """Numbers, or `error`, `out_of_memory` or `note` where there are none."""
    seconds: float
    began: str
    machine: Mapping[str, str]

    @property
    def is_settled(self) -> bool:
        """Whether there is no point in measuring it again. Memory ends where it ends."""
        return "error" not in self.values


class Ledger:
    """The lines of one part."""

    def __init__(self, path: Path, machine: Mapping[str, str]) -> None:
        self.path = path
        self.machine = machine

    @property
    def rows(self) -> list[Row]:
        """All of this device, the latest of each name."""
        here = [row for row in read(self.path) if row.machine.get("device") == self.machine["device"]]
        return list({row.name: row for row in here}.values())

    def add(self, name: str, values: Values, *, seconds: float, began: str) -> Row:
        """Keep what was measured, at once."""
        row = Row(name, values, round(seconds, 2), began, self.machine)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row.__dict__) + "\n")
        return row


def read(path: Path) -> list[Row]:
    """All lines of a file; a line that was cut off is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(Row(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


class Budget:
    """Seconds that a call may take."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._ratios: list[float] = []

    def fits(self, expected: float) -> bool:
        """Whether so much is left, at the pace of this call so far."""
        pace = max(1.0, median(self._ratios)) if self._ratios else 1.0
        return expected * pace <= self._end - time.monotonic()

    def note(self, expected: float, taken: float) -> None:
        """Learn how far off the expectations are."""
        self._ratios.append(taken / max(expected, 0.1))


def run(points: Iterable[Point], ledger: Ledger, budget: Budget, *, only: str = "", retry: bool = False) -> int:
    """Measure what has not been measured yet and fits. Gives how many points are left."""
    known = {row.name for row in ledger.rows if row.is_settled or not retry}
    left = 0
    for point in points:
        if point.name in known or not re.search(only, point.name):
            continue
        if not budget.fits(point.expected_seconds):
            left += 1
            continue
        began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        values, is_broken = _measured(point)
        taken = time.monotonic() - started
        budget.note(point.expected_seconds, taken)
        row = ledger.add(point.name, values, seconds=taken, began=began)
        say(f"{point.name}: {short(row.values)} ({taken:.1f} s)")
        if is_broken:
            say("The device no longer answers this process: start the part again to go on.")
            return left + 1
    return left


def _measured(point: Point) -> tuple[Values, bool]:
    """What came of a point, and whether the process is of no more use."""
    try:
        return point.measure(), False
    except Exception as error:  # noqa: BLE001 - what a point ends with is its row
        lines = (str(error).strip() or type(error).__name__).splitlines()
        # What a process said last tells more than that it ended.
        line = " … ".join(part.strip()[:300] for part in dict.fromkeys((lines[0], lines[-1])))
        if is_out_of_memory(error):
            return {"out_of_memory": line}, False
        # Errors of kernels stick to the process.
        return {"error": f"{type(error).__name__}: {line}"}, "CUDA error" in str(error)
    finally:
        release_memory()


def say(line: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def short(values: Values) -> str:
    """Values on one line."""
    return ", ".join(f"{name} {_shortened(value)}" for name, value in values.items() if not isinstance(value, dict))


def _shortened(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "/").replace("\n", " ")


def outcome(values: Values) -> str | None:
    """Why there are no numbers, where there are none."""
    if "out_of_memory" in values:
        return "out of memory"
    return values.get("error") or values.get("note")
