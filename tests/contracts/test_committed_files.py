"""Committed files name no index, no address and no machine; the pins hold names, versions and hashes only."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,-]+\])?==[^\s;]+( ; [^\\]+)? \\$|^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S607
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_pins_hold_names_versions_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()

    assert len(lines) > 100
    assert [line for line in lines if not PIN.match(line)] == []


def test_no_committed_file_names_a_machine_path() -> None:
    machine_path = re.compile(r"(?<![\w.])/(home|root|work|Users)/\w")
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in committed()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".lock", ".sh", ""} and path.is_file()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if machine_path.search(line)
    ]

    assert named == []


def test_the_tool_specific_lock_file_is_not_committed() -> None:
    assert "uv.lock" not in {path.name for path in committed()}
