"""What the README says is true: its studies load, its Python runs, its commands and files exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.study_file import reader

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_study_in_the_readme_is_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)

    spec = reader.load(tmp_path / "study.yaml", check_files=False)

    assert set(spec.methods) == {"lora", "qlora", "full"}


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_in_the_readme_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr


def test_every_sweep_command_in_the_readme_exists() -> None:
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    named = {words[words.index("sweep") + 1] for line in lines if "sweep" in (words := _words(line))}
    program = Path(sys.executable).with_name("sweep")

    helped = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True)

    assert named >= {"run", "check", "status", "report", "eval"}
    assert [name for name in named if f" {name} " not in helped.stdout] == []


def test_every_file_that_the_readme_links_to_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", TEXT)

    assert linked
    assert [name for name in linked if not (ROOT / name).is_file()] == []


def test_the_test_command_is_what_the_check_script_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert "sh .ci/install" in script
    assert "\npytest -n 2 --dist loadfile" in script
    assert "pip install uv && sh .ci/install && .venv/bin/pytest -n 2 --dist loadfile" in TEXT


def _words(line: str) -> list[str]:
    """Words of a shell line, programs by their last name."""
    return [Path(word).name if word.endswith("bin/sweep") else word for word in shlex.split(line)]
