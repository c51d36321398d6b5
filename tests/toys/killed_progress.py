"""How far a study is, as far as its files tell somebody who is about to kill it."""

import os

from sweep.store import RunDirectory


def phase_of(run: RunDirectory) -> str:
    """What a study is busy with, by what lies on the disk."""
    if not run.environment.exists():
        return "start"
    if not run.baseline.record.exists():
        return "baseline"
    if (run.report / "index.html").exists():
        return "end"
    confirm = run.path / "confirm"
    confirming = [*confirm.glob("*/config.yaml"), *confirm.glob("*/*/config.yaml")]
    if not confirming:
        return "search"
    ended = all(path.with_name("record.json").exists() for path in confirming)
    return "report" if ended and len(confirming) > 1 else "confirm"


def marks(run: RunDirectory) -> int:
    """Grows as a study gets on: files that are there, and times that a training state was saved."""
    place = run.path
    once = ("study.yaml", "environment.json", "optuna.db", "data", "report", "report/report.json", "tracking/lock")
    wholes = sum((place / name).exists() for name in once) + (place.parent / "mlflow.db").exists()
    # Directories vanish while they are looked at, which `rglob` takes amiss.
    names = [name for _, _, files in os.walk(place) for name in files]
    return wholes + sum(name in {"config.yaml", "record.json"} or name.startswith("training-state") for name in names)
