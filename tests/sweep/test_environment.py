"""What a record says of its machine, and what it must not say."""

import getpass
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.environment import PROBES, Capability, capabilities, describe


def test_python_hardware_and_the_main_packages_are_named() -> None:
    facts = describe()

    assert facts["python"] == platform.python_version()
    assert int(facts["cores"]) >= 1
    assert {"platform", "cpu", "memory", "torch", "transformers", "trl", "peft", "bitsandbytes", "optuna"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())


def test_describing_a_machine_loads_no_torch() -> None:
    program = "import sys; from sweep.environment import describe; describe(); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_no_name_path_or_secret_of_this_machine_is_recorded(monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")

    written = repr(describe()).lower()

    assert "hf_very_secret" not in written
    assert str(Path.cwd()).lower() not in written
    assert str(Path.home()).lower() + "/" not in written
    assert socket.gethostname().lower() not in written
    assert f"/{getpass.getuser()}".lower() not in written


def test_the_commit_is_recorded_and_marked_where_files_differ_from_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "git" not in describe()

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run([shutil.which("git"), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first", "--no-verify")
    commit = describe()["git"]
    assert len(commit) == 40

    (tmp_path / "file").write_text("two")
    assert describe()["git"] == f"{commit} with changes"


def test_a_machine_without_git_is_described_all_the_same(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "git" not in describe()


def test_capabilities_are_tried_out_and_never_raise() -> None:
    found = {capability.name: capability for capability in capabilities()}

    assert set(PROBES) <= set(found)
    assert found["cpu"].ok
    assert found["4-bit weights"] == Capability("4-bit weights", ok=True, detail=found["4-bit weights"].detail)
    assert found["torch"].ok
    assert all("\n" not in capability.detail and capability.detail for capability in found.values())


@pytest.mark.skipif(os.environ.get("CUDA_VISIBLE_DEVICES", "") != "", reason="this machine may have a GPU")
def test_what_does_not_work_here_says_why() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    found = {capability.name: capability for capability in capabilities()}

    assert not found["paged 8-bit optimizer"].ok
    assert "CUDA" in found["paged 8-bit optimizer"].detail
    assert not found["gpu"].ok
