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

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evals.outside import parse_json
from sweep.config import TrialConfig
from sweep.easing import Eased
from sweep.errors import RunDirectoryError, StudyFileError
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.study_file.document import parse

MAX_BYTES = 64 * 2**20
"""No record, study or config comes near."""
MAX_YAML_BYTES = 4 * 2**20
MAX_VALUES = 200_000
"""Values in a study or config, aliases written out."""
COMPLAINTS = 3
WIDTH = 2**20
"""Columns of a file that programs write: no text is broken over lines."""
LONGEST_REASON = 200
"""Characters that are shown of a library's complaint."""
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
"""Text that no version of YAML takes for anything else, but for these:"""
WORDS_OF_OLD = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


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
        return list(_records(sorted((self.path / "search" / method).glob("*/record.json"))))

    def confirm_records(self, method: str) -> list[TrialRecord]:
        """Ended repetitions of a method's finalist, by number."""
        found = _records((self.path / "confirm" / method).glob("seed-*/record.json"))
        return sorted(found, key=lambda record: record.config.number)

    def eased_trials(self) -> list[Eased]:
        """Trials that memory ran out in, ended or not."""
        found = sorted((*self.path.glob("search/*/*/easing.json"), *self.path.glob("confirm/*/*/easing.json")))
        return [read_eased(path) for path in found]

    def forget_states(self) -> None:
        """Remove training states that a kill left behind: of trials that have ended, and half-written ones."""
        for path in self.path.rglob("*training-state.safetensors*"):
            if path.suffix == ".tmp" or TrialDirectory(path.parent).record.exists():
                path.unlink(missing_ok=True)

    def read_study(self) -> StudySpec:
        """The study as run. Raises RunDirectoryError where the directory holds none."""
        if not self.study_file.is_file():
            raise RunDirectoryError(f"{self.path}: no study.yaml here, so this is not a run directory.")
        try:
            return StudySpec.model_validate(_read_yaml(self.study_file))
        except ValidationError as error:
            raise _unreadable(self.study_file, "a study", error) from error

    def read_environment(self) -> Mapping[str, Any]:
        """Versions, hardware and data fingerprints. Raises RunDirectoryError where the file is damaged."""
        try:
            value = parse_json(self.environment.read_text("utf-8"))
            data = {**value["data"], "sha256": dict(value["data"]["sha256"])}
            return {"environment": dict(value["environment"]), "data": data}
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{self.environment}: damaged ({_briefly(error)}). Without it nobody knows whether the data are those "
                "that the study began with: bring it back from a copy, or give the study another name."
            ) from error


def trained_tokens(directory: TrialDirectory) -> int:
    """Tokens that a trial trained on, from its steps: known however it ended, killed in the middle of a line too."""
    tokens = 0
    if directory.steps.exists():
        for line in directory.steps.read_text("utf-8", errors="replace").splitlines():
            try:
                tokens = max(tokens, int(parse_json(line).get("tokens", 0)))
            except (ValueError, TypeError, AttributeError):
                continue
    return tokens


def read_record(path: Path) -> TrialRecord:
    """Read one record. Raises RunDirectoryError where it cannot be understood."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunDirectoryError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, which no record is.")
        return TrialRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        remedy = " Bring it back from a copy, or remove it with the run's optuna.db to have that trial run again."
        raise _unreadable(path, "a record", error, remedy) from error


def write_record(directory: TrialDirectory, record: TrialRecord) -> None:
    """Write the record: from here on the trial counts as ended, and is not gone on with."""
    write_text(directory.record, record.model_dump_json(indent=2) + "\n")
    directory.training_state.unlink(missing_ok=True)


def read_eased(path: Path) -> Eased:
    """Read what `write_eased` wrote. Raises RunDirectoryError where it cannot be understood."""
    try:
        return Eased.model_validate_json(path.read_bytes())
    except (ValidationError, ValueError) as error:
        raise RunDirectoryError(
            f"{path}: not what this version writes where memory ran out: {error}. Without the file, the study finds "
            "out again how much memory there is."
        ) from error


def write_eased(directory: TrialDirectory, eased: Eased) -> None:
    """Write what a trial is started again with."""
    write_text(directory.easing, eased.model_dump_json(indent=2) + "\n")


def write_config(directory: TrialDirectory, config: TrialConfig) -> None:
    """Write the config before the trial starts."""
    write_yaml(directory.config, config)


def read_config(path: Path) -> TrialConfig:
    """Read a config that `write_config` wrote. Raises RunDirectoryError for anything else."""
    try:
        return TrialConfig.model_validate(_read_yaml(path))
    except ValidationError as error:
        raise _unreadable(path, "a config", error) from error


def write_study(run: RunDirectory, spec: StudySpec) -> None:
    """Write the study as run."""
    write_yaml(run.study_file, spec)


def write_yaml(path: Path, model: BaseModel) -> None:
    """Write a model as YAML 1.2, whole or not at all."""
    plain = model.model_dump(mode="json")
    write_text(path, yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH))


def _read_yaml(path: Path) -> object:
    """What `write_yaml` wrote, or whatever somebody has put in its place: without tags, and of bounded size."""
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise RunDirectoryError(
                f"{path}: larger than {MAX_YAML_BYTES // 2**20} MiB. This version did not write it."
            )
        parsed = parse(path.read_text("utf-8"), path, max_values=MAX_VALUES)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, StudyFileError) as error:
        raise RunDirectoryError(f"{path}: not a file that this version wrote: {error}") from error
    if parsed.problems:
        raise RunDirectoryError(f"{parsed.problems[0]} This version did not write it.")
    return parsed.value


def _unreadable(path: Path, what: str, error: ValueError, remedy: str = "") -> RunDirectoryError:
    """One line, naming the first few of what may be hundreds of complaints."""
    found = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
    said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found[:COMPLAINTS]] or [str(error)]
    more = f"; and {len(found) - COMPLAINTS} more" if len(found) > COMPLAINTS else ""
    said = ["; ".join(said) + more]
    return RunDirectoryError(f"{path}: damaged, or not {what} that this version can read: {said[0]}.{remedy}")


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]  # yaml is untyped
    """Writes text so that readers of YAML 1.1 and 1.2 take it for text; many times faster than a writer of 1.2."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = PLAIN.fullmatch(text) is not None and text.lower() not in WORDS_OF_OLD
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _write_text)


def write_json(path: Path, value: object) -> None:
    """Write plain values as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name, flush to disk, rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _briefly(error: Exception) -> str:
    """What is wrong with a file, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    return " ".join(str(error).split())[:LONGEST_REASON]


def _records(paths: Iterator[Path] | list[Path]) -> Iterator[TrialRecord]:
    for path in paths:
        yield read_record(path)
