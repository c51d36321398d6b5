"""A study whose storage is a real database server, run by the `sweep` command; only training is a toy."""

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import optuna
import sqlalchemy

from sweep.store import RunDirectory

SCRIPT = Path(__file__).with_name("sweep_with_toys.py")
STUDY = """
name: toy
model: {model_name_or_path: toy}
data: {train: rows.jsonl}
methods: [lora, full]
training: {validations: 2}
search_space: {training.learning_rate: {min: 1.0e-5, max: 1.0e-1, log: true}}
budget: {trials_per_method: 3, confirm_seeds: 1}
sampler: {name: random}
pruner: {name: none}
"""


@dataclass
class Home:
    """A directory with a study and its rows."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path / "runs" / "toy")

    @property
    def calls(self) -> list[str]:
        file = self.path / "cache" / "calls"
        return [line.rpartition(" ")[0] for line in file.read_text().splitlines()] if file.exists() else []

    def write(self, storage: str, tracking: str = "{mlflow: false}") -> None:
        (self.path / "cache").mkdir(exist_ok=True)
        rows = (f'{{"prompt": "{n}", "completion": "{n * n}"}}\n' for n in range(40))
        (self.path / "rows.jsonl").write_text("".join(rows))
        (self.path / "study.yaml").write_text(f"{STUDY}storage: '{storage}'\ntracking: {tracking}\n")

    def start(self, *arguments: str, seconds: float = 0.0) -> "subprocess.Popen[str]":
        known = ("PATH", "PYTHONPATH", "HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
        settings = {name: os.environ[name] for name in known if name in os.environ}
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=settings | self.environment | {"SWEEP_CACHE": str(self.path / "cache"), "TOY_SECONDS": str(seconds)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sweep(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def wait_for(self, calls: int, process: "subprocess.Popen[str]") -> None:
        until = time.monotonic() + 60
        while len(self.calls) < calls:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)


def text_of(address: sqlalchemy.URL) -> str:
    return address.render_as_string(hide_password=False)


def forms(password: str) -> set[str]:
    """Every way of writing a password that may be found."""
    return {password, quote(password), quote(password, safe=""), quote_plus(password), quote(password, safe=" +")}


def left_behind(directory: Path, password: str) -> list[str]:
    """Files that a password is found in, or in whose name."""
    found = [path for path in directory.rglob("*") if path.is_file()]
    return [
        str(path)
        for path in found
        if any(form.encode() in path.read_bytes() or form in path.name for form in forms(password))
    ]


def states(address: sqlalchemy.URL) -> Counter[str]:
    storage = optuna.storages.RDBStorage(text_of(address).replace("{", "{{").replace("}", "}}"))
    try:
        names = optuna.get_all_study_names(storage)
        assert sorted(names) == ["toy/full", "toy/lora"]
        trials = [trial for name in names for trial in optuna.load_study(study_name=name, storage=storage).get_trials()]
        return Counter(trial.state.name for trial in trials)
    finally:
        storage.engine.dispose()
