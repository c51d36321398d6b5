"""A place to run toy studies in, with real worker processes."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
from toy_runner import ToyRunner, build_toy, toy_study

from sweep.config import TrialConfig
from sweep.events import Event, TrialEnded
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory, TrialDirectory
from sweep.study.phases import Workers, run_study


class ToyTracker:
    """Remembers what it was told, and whether the record was on disk by then."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def start(self) -> None:
        self.heard.append("start")

    def log(self, record: TrialRecord, directory: TrialDirectory) -> None:
        assert directory.read_record() == record
        self.heard.append(name_of(record.config))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        self.heard.append(status)


@dataclass
class Lab:
    """A place to run toy studies in."""

    path: Path
    events: list[Event] = field(default_factory=list)
    tracker: ToyTracker = field(default_factory=ToyTracker)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path / "runs" / "toy")

    @property
    def calls(self) -> list[str]:
        """Trials that were really run, as `phase method/number`."""
        file = self.path / "calls"
        return [line.rpartition(" ")[0] for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def rows(self) -> list[str]:
        """Micro-batches that trials were tried with, as `phase method/number rows`."""
        file = self.path / "rows"
        return file.read_text().splitlines() if file.exists() else []

    def start(self, spec: StudySpec, devices: tuple[str | None, ...] = (None,), **toy: object) -> list[Event]:
        self.events.clear()
        run_study(
            spec,
            run=self.run,
            data_root=self.path,
            cache=self.path,
            on_event=self.events.append,
            tracker=self.tracker,
            workers=Workers(partial(build_toy, ToyRunner(self.path / "calls", **toy)), devices),
        )
        return self.events

    def ended(self) -> list[TrialRecord]:
        return [event.record for event in self.events if isinstance(event, TrialEnded)]

    def optuna(self, method: str) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name=f"toy/{method}", storage=f"sqlite:///{self.run.optuna_db}").get_trials()


def name_of(config: TrialConfig) -> str:
    return f"{config.phase} {config.method}/{config.number}"


def random_study(**changes: object) -> StudySpec:
    return toy_study(**{"sampler": {"name": "random"}, **changes})
