"""The studies that come with the project: what there is, and a copy to start from."""

import shutil
from pathlib import Path

import studies
from sweep.errors import InputError
from sweep.spec import DataSpec
from sweep.study_file import reader


def bundled_studies() -> dict[str, str]:
    """Names of the bundled studies and the question of each."""
    return {name: studies.question(path) for name, path in studies.bundled().items()}


def copy_bundled_study(name: str, to: Path) -> list[Path]:
    """Copy a bundled study, and the data that come with it, into a directory; existing files are never overwritten."""
    bundled = studies.bundled()
    if name not in bundled:
        raise InputError(f"{name}: no such bundled study. There are: {', '.join(bundled)}.")
    source = bundled[name]
    spec = reader.load(source, check_files=False)
    sources = [source, *(path for path in _data_files(spec.data, source.parent) if path.is_file())]
    targets = [to / path.name for path in sources]
    for target in targets:
        if target.exists():
            raise InputError(f"{target}: exists already. Move it away, or copy into another directory with --to.")
    to.mkdir(parents=True, exist_ok=True)
    for path, target in zip(sources, targets, strict=True):
        shutil.copyfile(path, target)
    return targets


def _data_files(data: DataSpec, root: Path) -> list[Path]:
    grader = None if data.grader is None else data.grader.partition(":")[0]
    named = (data.train, data.validation, data.test, data.json_schema, data.sql_schema, grader)
    return [root / value for value in named if isinstance(value, str)]
