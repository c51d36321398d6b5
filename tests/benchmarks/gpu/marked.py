"""The tests that are marked `gpu`, a file at a time, as a part of the script."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

from points import Ledger, Point, Row, Values, markdown, outcome
from setting import Setting

TITLE = "Tests marked `gpu`"
NOTE = "Warnings are shown and fail no test here: versions may differ from those that are pinned."
ROOT = Path(__file__).parents[3]
PATIENCE = 420
COUNTS = ("tests", "failures", "errors", "skipped")


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """One for each file that has any."""
    del ledger
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.parent == ROOT / "tests" / "gpu" or "mark.gpu" in path.read_text(encoding="utf-8"):
            name = str(path.relative_to(ROOT))
            yield Point(name, 20.0 if setting.tiny else 90.0, partial(_run, setting, name))


def _run(setting: Setting, name: str) -> Values:
    report = setting.scratch / "junit.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    # It shares the device with this process.
    setting.forget()
    ran = subprocess.run(
        [*command, f"--junitxml={report}", name],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    if not report.is_file():
        raise RuntimeError(f"pytest ended with {ran.returncode}: {(ran.stderr or ran.stdout)[-300:].strip()}")
    suite = next(ET.parse(report).iter("testsuite"))  # noqa: S314
    counts = {count: int(suite.get(count, 0)) for count in COUNTS}
    broken = {
        case.get("name", ""): (part.get("message") or "").splitlines()[0][:200]
        for case in suite.iter("testcase")
        for part in (*case.findall("failure"), *case.findall("error"))
    }
    reasons = sorted({part.get("message", "") for part in suite.iter("skipped")})
    return {**counts, "broken": broken, "skipped_because": "; ".join(reasons)}


def table(rows: Sequence[Row]) -> str:
    """Counts, and what broke."""
    lines = []
    for row in rows:
        found = row.values
        if outcome(found):
            lines.append([row.name, None, None, None, outcome(found)])
            continue
        broken = found["failures"] + found["errors"]
        passed = found["tests"] - broken - found["skipped"]
        remarks = "; ".join(f"{name}: {message}" for name, message in found["broken"].items())
        lines.append([row.name, passed, broken, found["skipped"], remarks or found["skipped_because"]])
    return markdown(("file", "passed", "failed", "skipped", "remarks"), lines)
