"""One recorded trial of a run directory, found by the name of its directory."""

from dataclasses import dataclass
from pathlib import Path

from sweep.config import TrialConfig
from sweep.errors import InputError
from sweep.record import TrialRecord
from sweep.store import RunDirectory, TrialDirectory, read_config
from sweep.study.resume import flat

NAMES = "Names are search/METHOD/0003, confirm/METHOD/seed-1, baseline and confirm/baseline."


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was run, and what came of it."""

    name: str
    """The trial's directory within the run, such as `search/lora/0003`."""
    directory: TrialDirectory
    config: TrialConfig
    """Its config.yaml, from which it is run again."""
    record: TrialRecord

    @property
    def slug(self) -> str:
        """The name as a single word."""
        return self.name.replace("/", "-")

    @property
    def edits(self) -> list[str]:
        """Keys in which config.yaml is not what the record says was run."""
        now, then = (flat(config.model_dump(mode="json")) for config in (self.config, self.record.config))
        return [key for key in sorted(now.keys() | then.keys()) if now.get(key) != then.get(key)]


def find_trial(run: RunDirectory, name: str) -> Recorded:
    """Find a trial. Raises InputError where there is none, where it has not ended, or where it was not run itself."""
    run.read_study()
    root = run.path.resolve()
    wanted = Path(name)
    path = wanted.resolve() if wanted.is_absolute() or wanted.resolve().is_relative_to(root) else (root / name)
    directory = TrialDirectory(path.resolve())
    if not directory.path.is_relative_to(root) or not directory.config.is_file():
        raise InputError(f"{name}: no trial of this name in {run.path}. {NAMES}{_examples(run)}")
    record = directory.read_record()
    if record is None:
        raise InputError(f"{name}: this trial has no record yet, so there is nothing to compare with. Let it end.")
    if record.reused_from is not None:
        again = run.search_trial(record.config.method or "", record.reused_from).path.relative_to(run.path)
        raise InputError(f"{name}: this config was not run but copied from another trial. Name {again.as_posix()}.")
    config = read_config(directory.config)
    return Recorded(directory.path.relative_to(root).as_posix(), directory, config, record)


def next_directory(run: RunDirectory, slug: str) -> Path:
    """A directory for one more rerun that nothing is in yet."""
    number = 1
    while (run.reruns / f"{slug}-{number}").exists():
        number += 1
    return run.reruns / f"{slug}-{number}"


def _examples(run: RunDirectory) -> str:
    found = sorted(path.parent.relative_to(run.path).as_posix() for path in run.path.glob("*/*/*/record.json"))
    return f" Here are {', '.join(found[:3])} and so on." if found else ""
