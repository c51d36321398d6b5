"""The prepared rows on disk: written once for a study, read by every worker.

<directory>/<key>/
  prepared.json        what was made of the user's data; a directory without it is not read
  <split>.jsonl        one OwnRow a line, which scoring asks
  <split>.parquet      input_ids and completion_mask, which training reads
  grader.py            the user's own grader, where the study names one

A Dataset is made from the Parquet file in memory, so that `datasets` and TRL keep no cache of it beside the rows.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import JsonValue, ValidationError

from evals.outside import make_public, read_outside
from evals.spec import AnswerType, GraderSpec, LabelBy, OwnDataSpec, Spec
from sweep.data.encode import EncodedRow
from sweep.data.rows import BadRow
from sweep.data.tokens import Tokens
from sweep.errors import DataError
from sweep.files import write_text

if TYPE_CHECKING:
    from datasets import Dataset

SplitName = Literal["train", "validation", "test"]
MANIFEST = "prepared.json"
GRADER = "grader.py"


class Manifest(Spec):
    """What was made of the user's data."""

    rows: Mapping[str, int]
    """Rows by split."""
    sha256: Mapping[str, str]
    """Fingerprint of the rows of each split, in order, and of each thing that answers are graded with."""
    dropped: tuple[BadRow, ...]
    """Rows that do not fit."""
    leaks: Mapping[str, int]
    """Held-out rows seen before: of validation in train, of test in train or validation."""
    answer: AnswerType
    """What the answers are."""
    labels: tuple[str, ...]
    """All labels, where answers are labels."""
    constant_answers: tuple[str, ...]
    """Candidates for the best constant answer."""
    stop: tuple[str, ...]
    """Strings that end an answer."""
    max_new_tokens: int
    """Twice the longest training answer in tokens, at least 16."""
    label_by: LabelBy = "likelihood"
    """How labels are scored."""
    json_schema: Mapping[str, JsonValue] | None = None
    """What JSON answers must look like."""
    sql_schema: str | None = None
    """Tables of all rows that bring none."""
    grader: str | None = None
    """Function in the grader's file."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The user's rows, rendered, tokenized and divided."""

    directory: Path
    """Where the rows are."""
    rows: Mapping[str, int]
    """Rows by split."""
    sha256: Mapping[str, str]
    """Fingerprint of the content of each split's rows, in order; the same for every model and template."""
    dropped: tuple[BadRow, ...]
    """Rows that do not fit."""
    leaks: Mapping[str, int]
    """Held-out rows seen before: of validation in train, of test in train or validation."""
    manifest: Manifest
    """All that was found out about the data."""

    def own(self, split: SplitName) -> OwnDataSpec:
        """The rows of a split as a task."""
        found = self.manifest
        return OwnDataSpec(
            rows=self.directory / f"{split}.jsonl",
            answer=found.answer,
            labels=found.labels,
            constant_answers=found.constant_answers,
            stop=found.stop,
            max_new_tokens=found.max_new_tokens,
            label_by=found.label_by,
            json_schema=found.json_schema,
            sql_schema=found.sql_schema,
            grader=self._grader(),
        )

    def _grader(self) -> GraderSpec | None:
        function = self.manifest.grader
        if function is None:
            return None
        return GraderSpec(file=self.directory / GRADER, function=function, sha256=self.sha256["grader"])

    def dataset(self, split: SplitName) -> "Dataset":
        """The rows of a split in tokens: `input_ids`, and `completion_mask`, 1 where a token is learned."""
        from datasets import Dataset
        from pyarrow import parquet

        with parquet.ParquetFile(self.directory / f"{split}.parquet") as file:
            return Dataset(file.read())


def is_prepared(directory: Path) -> bool:
    """Whether a directory was written to its end."""
    return (directory / MANIFEST).is_file()


def read_prepared(directory: Path) -> PreparedData:
    """Read what `prepare` wrote. Raises DataError where there is none that this version can read."""
    try:
        manifest = Manifest.model_validate_json(read_outside(directory / MANIFEST))
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{directory}: holds no prepared data that this version can read. Delete it and run again."
        ) from error
    return PreparedData(directory, manifest.rows, manifest.sha256, manifest.dropped, manifest.leaks, manifest)


def write_prepared(
    directory: Path, manifest: Manifest, splits: Mapping[str, Sequence[EncodedRow]], *, grader: bytes | None = None
) -> PreparedData:
    """Write everything to a temporary directory and rename it: a reader sees all of it or nothing."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name[:16]}-"))
    try:
        for split, rows in splits.items():
            write_text(scratch / f"{split}.jsonl", "".join(f"{row.own.model_dump_json()}\n" for row in rows))
            _write_tokens(scratch / f"{split}.parquet", [row.tokens for row in rows])
        if grader is not None:
            (scratch / GRADER).write_bytes(grader)
        write_text(scratch / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        make_public(scratch)
        _publish(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return read_prepared(directory)


def _write_tokens(path: Path, rows: Sequence[Tokens]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    masks = [np.repeat(np.array([0, 1], np.int8), [row.prompt_length, row.completion_length]) for row in rows]
    columns = {
        "input_ids": pa.array([row.input_ids for row in rows], pa.list_(pa.int32())),
        "completion_mask": pa.array(masks, pa.list_(pa.int8())),
    }
    with path.open("wb") as stream:
        parquet.write_table(pa.table(columns), stream)
        stream.flush()
        os.fsync(stream.fileno())


def _publish(scratch: Path, directory: Path) -> None:
    try:
        scratch.rename(directory)
    except OSError:
        # Another process published the same rows first; a directory without a manifest is not one that we wrote whole.
        if not is_prepared(directory):
            shutil.rmtree(directory)
            scratch.rename(directory)
