"""Inputs chosen by the branches that they reach: what is planted deep is found, and can be tried again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="Atheris has no build for this platform")
TOYS = Path(__file__).parents[1] / "toys"
READER = """
def read(content):
    if len(content) > 2 and content[0] == 0x21 and content[1] == 0xFE and content[2] == 0x07:
        raise LookupError("planted")
"""
TEST = """
import planted
from hypothesis import given, settings, strategies as st

def test_any_bytes(pytestconfig):
    @pytestconfig.guided
    @given(st.binary(max_size=8))
    def check(content):
        planted.read(content)

    check()
"""


def guided(place: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(place), str(TOYS)])}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "guided",
        "-p",
        "no:cacheprovider",
        str(place / "test_it.py"),
    ]
    wanted = ["--guided-found", str(place), "--guided-package", "planted", *options]
    return subprocess.run(
        [*command, *wanted], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "planted.py").write_text(READER)
    (tmp_path / "test_it.py").write_text(TEST)
    return tmp_path


def test_what_is_planted_behind_three_bytes_is_found_and_fails_again(place: Path) -> None:
    """By chance alone it takes ten million inputs."""
    found = guided(place, "--guided-seconds", "120", "--guided-seed", "1")
    crashes = list(place.glob("test_any_bytes-crash-*"))
    again = guided(place, "--guided-input", str(crashes[0])) if crashes else found

    assert found.returncode == 1, found.stdout
    assert "LookupError: planted" in found.stdout
    assert again.returncode == 1
    assert "LookupError: planted" in again.stdout


def test_a_reader_without_a_fault_passes_and_says_how_much_was_tried(place: Path) -> None:
    (place / "planted.py").write_text(READER.replace("raise LookupError", "print"))

    ended = guided(place, "--guided-seconds", "2")

    name, inputs, branches = (place / "tried.tsv").read_text().split()
    assert ended.returncode == 0, ended.stdout
    assert name == "test_any_bytes"
    assert int(inputs) > 64, "more than it began with"
    assert int(branches) > 0
