"""The run directory: where each file is, and how it is written so that nothing half-written is ever read.

runs/<study>/study.yaml  environment.json  test_openings.jsonl  optuna.db  data/
             baseline/                    record.json  config.yaml  eval/
             search/<method>/0007/        the same, and steps.jsonl  checkpoint/
                                          where memory ran out: easing.json
                                          until it has ended: training-state.safetensors
             confirm/baseline/            the base model on the test split
             confirm/<method>/seed-1/     the same as a trial
             rerun/search-<method>-0007-1/   a trial that was run again, to compare
             report/
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals.outside import is_inside, parse_json, read_outside
from sweep.config import TrialConfig
from sweep.easing import Eased
from sweep.errors import RunDirectoryError
from sweep.files import briefly, read_yaml, unreadable, write_text, write_yaml
from sweep.record import TrialRecord
from sweep.spec import StudySpec

MAX_BYTES = 64 * 2**20
"""No record comes near."""
SHOWN_RUNS = 10
"""Run directories that a message names."""


@dataclass(frozen=True, slots=True)
class TrialDirectory:
    """The files of one trial."""

    path: Path

    @property
    def config(self) -> Path:
        """The trial's config, written before it starts."""
        return self.path / "config.yaml"

    @property
    def record(self) -> Path:
        """The trial's record; it exists only once the trial has ended."""
        return self.path / "record.json"

    @property
    def steps(self) -> Path:
        """Training metrics, one JSON object a line."""
        return self.path / "steps.jsonl"

    @property
    def checkpoint(self) -> Path:
        """A PEFT adapter, or a whole model for full fine-tuning."""
        return self.path / "checkpoint"

    @property
    def training_state(self) -> Path:
        """What a trial goes on from after an interruption; gone once it has ended."""
        return self.path / "training-state.safetensors"

    @property
    def easing(self) -> Path:
        """What memory that ran out sent the trial to; written before it is started again."""
        return self.path / "easing.json"

    @property
    def eval(self) -> Path:
        """lm-evaluation-harness's own result and sample files."""
        return self.path / "eval"

    def clear(self) -> None:
        """Remove what an unfinished or outdated trial left, but for what it may go on from, and by what."""
        goes_on = self.training_state.exists()
        kept = {self.easing, *((self.training_state, self.steps, self.checkpoint) if goes_on else ())}
        for path in self.path.iterdir() if self.path.exists() else ():
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read_record(self) -> TrialRecord | None:
        """The record, or None where the trial has not ended."""
        return read_record(self.record) if self.record.exists() else None


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one study."""

    path: Path

    @property
    def study_file(self) -> Path:
        """The study as run, every default filled in."""
        return self.path / "study.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware and data fingerprints."""
        return self.path / "environment.json"

    @property
    def test_openings(self) -> Path:
        """How often the test data were opened, one JSON object a line."""
        return self.path / "test_openings.jsonl"

    @property
    def reruns(self) -> Path:
        """Trials that were run again to compare."""
        return self.path / "rerun"

    @property
    def optuna_db(self) -> Path:
        """Default Optuna storage."""
        return self.path / "optuna.db"

    @property
    def data(self) -> Path:
        """Prepared rows, keyed by their content."""
        return self.path / "data"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report"

    @property
    def baseline(self) -> TrialDirectory:
        """The base model on the validation split."""
        return TrialDirectory(self.path / "baseline")

    @property
    def confirm_baseline(self) -> TrialDirectory:
        """The base model on the test split."""
        return TrialDirectory(self.path / "confirm" / "baseline")

    def search_trial(self, method: str, number: int) -> TrialDirectory:
        """One trial of a method's search, by Optuna's number."""
        return TrialDirectory(self.path / "search" / method / f"{number:04d}")

    def confirm_trial(self, method: str, number: int) -> TrialDirectory:
        """One repetition of a finalist, counted from 1."""
        return TrialDirectory(self.path / "confirm" / method / f"seed-{number}")

    def directory_of(self, config: TrialConfig) -> TrialDirectory:
        """Where a config's files belong."""
        if config.method is None:
            return self.baseline if config.phase == "baseline" else self.confirm_baseline
        place = self.search_trial if config.phase == "search" else self.confirm_trial
        return place(config.method, config.number)

    def search_records(self, method: str) -> list[TrialRecord]:
        """Ended trials of a method's search, by number."""
        return list(self._records(sorted((self.path / "search" / method).glob("*/record.json"))))

    def confirm_records(self, method: str) -> list[TrialRecord]:
        """Ended repetitions of a method's finalist, by number."""
        found = self._records((self.path / "confirm" / method).glob("seed-*/record.json"))
        return sorted(found, key=lambda record: record.config.number)

    @property
    def has_trials(self) -> bool:
        """Whether any trial but the base model has ended."""
        return any(any(self.path.glob(f"{phase}/*/*/record.json")) for phase in ("search", "confirm"))

    def _records(self, paths: Iterable[Path]) -> Iterator[TrialRecord]:
        for path in paths:
            record = read_record(path)
            place = self.directory_of(record.config).record
            if path != place:
                raise RunDirectoryError(
                    f"{path}: the record of another trial, whose place is {place.parent.relative_to(self.path)}; a "
                    "trial would count twice. Bring back what lay here, or take the copy out of the run directory."
                )
            yield record

    def eased_trials(self) -> list[Eased]:
        """Trials that memory ran out in, ended or not."""
        found = sorted((*self.path.glob("search/*/*/easing.json"), *self.path.glob("confirm/*/*/easing.json")))
        return [read_eased(path) for path in found]

    def refuse_ways_out(self) -> None:
        """Raise RunDirectoryError for a link that leads out of it: what is written there would land elsewhere.

        Call it before anything is written to a run directory that somebody else may have made.
        """
        for place, directories, files in os.walk(self.path):
            for path in (Path(place) / name for name in (*directories, *files)):
                if path.is_symlink() and not is_inside(self.path, os.path.realpath(path)):
                    raise RunDirectoryError(
                        f"{path}: a link that leads out of the run directory. Put what it leads to in its place; a run "
                        "directory may be moved to another disk and linked as a whole."
                    )

    def forget_states(self) -> None:
        """Remove training states that a kill left behind: of trials that have ended, and half-written ones."""
        for path in self.path.rglob("*training-state.safetensors*"):
            if path.suffix == ".tmp" or TrialDirectory(path.parent).record.exists():
                path.unlink(missing_ok=True)

    def read_study(self) -> StudySpec:
        """The study as run. Raises RunDirectoryError where the directory holds none."""
        if not self.study_file.is_file():
            raise RunDirectoryError(_no_run(self.path))
        try:
            return StudySpec.model_validate(read_yaml(self.study_file))
        except ValidationError as error:
            raise unreadable(self.study_file, "a study", error) from error

    def read_environment(self) -> Mapping[str, Any]:
        """Versions, hardware and data fingerprints. Raises RunDirectoryError where the file is damaged."""
        try:
            value = parse_json(read_outside(self.environment))
            data = {**value["data"], "sha256": dict(value["data"]["sha256"])}
            return {"environment": dict(value["environment"]), "data": data}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{self.environment}: damaged ({briefly(error)}). Without it nobody knows whether the data are those "
                "that the study began with: bring it back from a copy, or give the study another name."
            ) from error


def trained_tokens(directory: TrialDirectory) -> int:
    """Tokens that a trial trained on, from its steps: known however it ended, killed in the middle of a line too."""
    tokens = 0
    if directory.steps.exists():
        for line in directory.steps.read_text("utf-8", errors="replace").splitlines():
            try:
                tokens = max(tokens, int(parse_json(line).get("tokens", 0)))
            except (ValueError, TypeError, AttributeError, OverflowError):
                continue
    return tokens


def read_record(path: Path) -> TrialRecord:
    """Read one record. Raises RunDirectoryError where it cannot be understood."""
    try:
        return TrialRecord.model_validate_json(read_outside(path, MAX_BYTES))
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        remedy = " Bring it back from a copy, or remove it with the run's optuna.db to have that trial run again."
        raise unreadable(path, "a record", error, remedy) from error


def write_record(directory: TrialDirectory, record: TrialRecord) -> None:
    """Write the record: from here on the trial counts as ended, and is not gone on with."""
    write_text(directory.record, record.model_dump_json(indent=2) + "\n")
    directory.training_state.unlink(missing_ok=True)


def read_eased(path: Path) -> Eased:
    """Read what `write_eased` wrote. Raises RunDirectoryError where it cannot be understood."""
    try:
        return Eased.model_validate_json(read_outside(path, MAX_BYTES))
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        remedy = " Without the file, the study finds out again how much memory there is."
        raise unreadable(path, "an easing", error, remedy) from error


def write_eased(directory: TrialDirectory, eased: Eased) -> None:
    """Write what a trial is started again with."""
    write_text(directory.easing, eased.model_dump_json(indent=2) + "\n")


def write_config(directory: TrialDirectory, config: TrialConfig) -> None:
    """Write the config before the trial starts."""
    write_yaml(directory.config, config)


def read_config(path: Path) -> TrialConfig:
    """Read a config that `write_config` wrote. Raises RunDirectoryError for anything else."""
    try:
        return TrialConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise unreadable(path, "a config", error) from error


def write_study(run: RunDirectory, spec: StudySpec) -> None:
    """Write the study as run."""
    write_yaml(run.study_file, spec)


def _no_run(path: Path) -> str:
    """Why a path is no run directory, and which ones are near it."""
    if not path.exists():
        return f"{path}: no such directory. `sweep run` makes run directories, in runs/ unless it is told otherwise."
    inside = sorted(found.parent.name for found in path.glob("*/study.yaml"))[:SHOWN_RUNS] if path.is_dir() else []
    near = f" Run directories in it: {', '.join(inside)}." if inside else ""
    return f"{path}: no study.yaml here, so this is not a run directory.{near}"
