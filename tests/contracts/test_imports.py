"""The import graph points one way, and reading a study costs no machine learning library."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "peft", "trl", "bitsandbytes", "lm_eval", "datasets", "mlflow"}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


@pytest.mark.parametrize(
    "module",
    [
        "sweep.cli",
        "sweep.api",
        "sweep.study_file.reader",
        "sweep.store",
        "sweep.record",
        "reports.table",
        "reports.render",
    ],
)
def test_reading_a_study_or_a_run_loads_no_machine_learning_library(module: str) -> None:
    assert loaded_after(f"import {module}") & HEAVY == set()


def test_checking_a_study_loads_no_machine_learning_library() -> None:
    study = ROOT / "studies" / "quickstart.yaml"
    statement = f"from sweep import cli\nassert cli.main(['check', {str(study)!r}]) == 0"

    assert loaded_after(statement) & HEAVY == set()


def test_the_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([str(tool), "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stdout


def test_no_module_needs_long_scrolling() -> None:
    packages = ("sweep", "evals", "reports", "studies")
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    }

    assert lengths
    assert {path: length for path, length in lengths.items() if length > 300} == {}
