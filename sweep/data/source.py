"""Where the rows of a split come from: a file beside the study, a data set on the Hub, or a share of the training rows.

A name is a file where a file of that name exists or where it looks like one; only otherwise is it taken to the Hub.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.outside import is_inside
from sweep.data.load import READERS, check_file, file_sha256, read_file
from sweep.data.rows import RawRow, RawRows, quoted
from sweep.errors import DataError
from sweep.spec import DataSpec

MAX_NAME = 255
"""Characters of a file's name, at most: an SQL schema may be the name of a column, or any text."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A local file."""

    name: str
    path: Path

    def read(self) -> RawRows:
        """Every row of the file."""
        return read_file(self.path, name=self.name)

    def sha256(self) -> str:
        """Fingerprint of the file's bytes."""
        return file_sha256(self.path, name=self.name)


@dataclass(frozen=True, slots=True)
class HubSource:
    """One split of a data set on the Hub."""

    name: str
    config: str | None
    revision: str | None
    split: str

    def read(self) -> RawRows:
        """Every row of the split. Raises DataError where the Hub does not give it."""
        import datasets

        # `datasets` would read a folder of this name in the working directory instead, from a cache keyed by its name.
        if Path(self.name).exists():
            raise DataError(
                f"{self.name}: a folder of this name in the working directory hides the Hub's data set. "
                "Name a data file in it, or run from elsewhere."
            )
        try:
            loaded = datasets.load_dataset(self.name, self.config, split=self.split, revision=self.revision)
            rows = [RawRow(number, values) for number, values in enumerate(loaded, start=1)]
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise DataError(
                f"{self.name}: neither a data file beside the study nor a Hub data set with a split '{self.split}' "
                f"that can be loaded: {reason}."
            ) from error
        return RawRows(self.name if self.split == "train" else f"{self.name} ({self.split})", rows, [])

    def sha256(self) -> str:
        """Fingerprint of the rows, so that a moved branch is seen."""
        digest = hashlib.sha256()
        for row in self.read().rows:
            digest.update(json.dumps(row.fields, sort_keys=True, default=repr).encode())
        return digest.hexdigest()


Source = FileSource | HubSource


def find_sources(spec: DataSpec, *, data_root: Path) -> Mapping[str, Source]:
    """The source of each split that has one of its own. Raises DataError for a missing file or an impossible share."""
    train = _train_source(spec, data_root)
    sources: dict[str, Source] = {"train": train}
    for split in ("validation", "test"):
        asked = getattr(spec, split)
        if isinstance(asked, str):
            sources[split] = _held_out_source(asked, train, data_root)
    _check_shares(spec)
    return sources


def input_files(spec: DataSpec, data_root: Path) -> list[Path]:
    """Every file beside the study that its `data` section names: rows, schemas and a grader."""
    rows = [asked for asked in (spec.train, spec.validation, spec.test) if isinstance(asked, str)]
    schemas = [asked for asked in (spec.json_schema, spec.sql_schema) if isinstance(asked, str)]
    graders = [] if spec.grader is None else [spec.grader.partition(":")[0]]
    paths = [data_root / name for name in (*rows, *schemas, *graders)]
    return [path for path in paths if len(path.name) <= MAX_NAME and path.is_file()]


def shares(spec: DataSpec) -> Mapping[str, float]:
    """Share of the training rows by split, for the splits that have no source of their own."""
    asked = {"validation": spec.validation, "test": spec.test}
    return {split: share for split, share in asked.items() if not isinstance(share, str)}


def _train_source(spec: DataSpec, data_root: Path) -> Source:
    path = _place(spec.train, data_root)
    if _looks_local(spec.train) or path.is_file() or not HUB_NAME.fullmatch(spec.train):
        check_file(path, name=spec.train)
        return FileSource(spec.train, path)
    return HubSource(spec.train, spec.hub_config, spec.hub_revision, "train")


def _held_out_source(asked: str, train: Source, data_root: Path) -> Source:
    path = _place(asked, data_root)
    if isinstance(train, HubSource) and not _looks_local(asked) and not path.is_file():
        return HubSource(train.name, train.config, train.revision, asked)
    check_file(path, name=asked)
    return FileSource(asked, path)


def _place(name: str, data_root: Path) -> Path:
    """Where a file of this name would be. Raises DataError for a place that is not the study's."""
    if not is_inside(data_root, name):
        raise DataError(f"{quoted(name)}: lies outside the directory of the study's data. Copy it there.")
    return data_root / name


def _looks_local(name: str) -> bool:
    return Path(name).suffix.lower() in READERS or name.startswith((".", "/", "~"))


def _check_shares(spec: DataSpec) -> None:
    held_out = shares(spec)
    for split, share in held_out.items():
        if not 0 < share < 1:
            raise DataError(f"data.{split}: {share:g} is no share. Give one above 0 and below 1, or a file of its own.")
    if sum(held_out.values()) >= 1:
        raise DataError("data.validation and data.test: together they leave nothing to train on. Give smaller shares.")
