"""May this driver go on with this run directory? The same study, the same data."""

import json
from collections.abc import Mapping
from pathlib import Path

from sweep.errors import RunDirectoryError
from sweep.files import write_json
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_study

MAY_GROW = frozenset(
    {
        "budget.trials_per_method",
        "budget.tokens_per_method",
        "budget.device_hours_per_method",
        "budget.confirm_seeds",
    }
)
"""Bounds that may be raised, or lifted, once a study has begun."""
MAY_CHANGE = (
    "lanes",
    "save_seconds",
    "silence_seconds",
    "storage",
    "tracking.",
    "report.price_per_hour",
    "report.currency",
    "report.within.",
)
"""Beginnings of keys that decide nothing about any trial or verdict."""


def admit(run: RunDirectory, spec: StudySpec) -> None:
    """Write the study into the run directory. Raises RunDirectoryError where another study was begun there.

    Until the base model has been scored no trial depends on anything, and the study may be mended freely.
    """
    if _has_begun(run):
        if not run.study_file.exists():
            raise _missing(run.study_file, "with which settings its trials were run")
        changes = differences(run.read_study(), spec)
        if changes:
            raise RunDirectoryError(
                f"{run.path}: begun with other settings: {'; '.join(changes)}. Change them back, or give the study "
                "another name. Only a larger budget, more confirm_seeds, lanes, save_seconds, silence_seconds, "
                "storage, tracking, and the report's prices and limits may change."
            )
    write_study(run, spec)


def differences(old: StudySpec, new: StudySpec) -> list[str]:
    """Changes that a begun study cannot take, as `key: old → new`."""
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    return [
        f"{key}: {_shown(before, key)} → {_shown(after, key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not _may_change(key, before.get(key), after.get(key))
    ]


def admit_data(run: RunDirectory, environment: Mapping[str, str], data: Mapping[str, object]) -> None:
    """Note what data and machine the study began with. Raises RunDirectoryError where the data are others by now."""
    if not _has_begun(run):
        write_json(run.environment, {"environment": dict(environment), "data": dict(data)})
        return
    if not run.environment.exists():
        raise _missing(run.environment, "whether the data are those that the study began with")
    begun = run.read_environment()["data"]["sha256"]
    now = dict(_mapping(data["sha256"]))
    changed = [split for split in sorted(begun.keys() | now.keys()) if begun.get(split) != now.get(split)]
    if changed:
        raise RunDirectoryError(
            f"{run.path}: the data have changed since this study began: {', '.join(changed)}. Its trials could not be "
            "compared with new ones; bring the old data back, or give the study another name."
        )


def _has_begun(run: RunDirectory) -> bool:
    baseline = run.baseline.read_record()
    # A base model's record may have been removed, because it was damaged, from beside trials that were run after it.
    return (baseline is not None and baseline.state == "COMPLETE") or run.has_trials


def _missing(path: Path, what: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path}: missing from a study that has begun. Without it nobody knows {what}: bring it back from a copy, or "
        "give the study another name."
    )


def _may_change(key: str, old: object, new: object) -> bool:
    if key in MAY_GROW:
        return isinstance(old, int | float) and (new is None or (isinstance(new, int | float) and new > old))
    return key.startswith(MAY_CHANGE)


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """A nested mapping by dotted names; lists are values."""
    if not isinstance(value, Mapping) or not value:
        return {prefix.removesuffix("."): value}
    return {name: leaf for key, below in value.items() for name, leaf in flat(below, f"{prefix}{key}.").items()}


def _shown(values: Mapping[str, object], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not set"


def _mapping(value: object) -> Mapping[str, str]:
    return value if isinstance(value, Mapping) else {}
