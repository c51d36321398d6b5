"""What answers are graded with beside the rows: a JSON schema, an SQL schema, a grader of the user's.

All of it is read once, when the data are prepared, and kept beside the rows. So a run can be scored again after the
study's directory has changed, and a study whose grader has changed is seen to be another study.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from evals.errors import TaskError
from evals.outside import is_inside
from evals.tasks.json_schema import read_schema
from evals.tasks.sql_run import Database, SqlError
from evals.tasks.user_grader import FoundGrader, find_grader
from sweep.errors import DataError
from sweep.spec import DataSpec, is_sql_file

MAX_SCHEMA_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Grading:
    """What the study's `data` section names, read."""

    json_schema: Mapping[str, JsonValue] | None = None
    sql_schema: str | None = None
    grader: FoundGrader | None = None

    def sha256(self) -> Mapping[str, str]:
        """Fingerprint of each part that there is, by its key in the study."""
        contents = {
            "json_schema": None if self.json_schema is None else json.dumps(self.json_schema, sort_keys=True).encode(),
            "sql_schema": None if self.sql_schema is None else self.sql_schema.encode(),
            "grader": None if self.grader is None else self.grader.content,
        }
        return {name: hashlib.sha256(found).hexdigest() for name, found in contents.items() if found is not None}


def read_grading(spec: DataSpec, data_root: Path) -> Grading:
    """Read all that answers are graded with. Raises DataError for the first that cannot be used."""
    for key in ("json_schema", "sql_schema"):
        name = getattr(spec, key)
        is_file = isinstance(name, str) and (key == "json_schema" or is_sql_file(name))
        if is_file and not is_inside(data_root, name):
            raise DataError(f"data.{key}: {name!r} lies outside the directory of the study's data. Copy it there.")
    try:
        schema = read_schema(data_root / spec.json_schema) if isinstance(spec.json_schema, str) else spec.json_schema
    except TaskError as error:
        raise DataError(f"data.json_schema: {error}") from error
    try:
        grader = None if spec.grader is None else find_grader(spec.grader, data_root)
    except TaskError as error:
        raise DataError(f"data.grader: {error}") from error
    is_file = spec.sql_schema is not None and is_sql_file(spec.sql_schema)
    return Grading(schema, read_sql_schema(str(spec.sql_schema), data_root) if is_file else None, grader)


def read_sql_schema(name: str, data_root: Path) -> str:
    """Read a file of statements that make at least one table. Raises DataError where SQLite refuses them."""
    path = data_root / name
    try:
        if path.stat().st_size > MAX_SCHEMA_BYTES:
            raise DataError(f"data.sql_schema: {name} is larger than {MAX_SCHEMA_BYTES // 2**20} MiB.")
        statements = path.read_text("utf-8")
        tables = Database(statements).tables()
    except OSError as error:
        raise DataError(f"data.sql_schema: {name} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, SqlError) as error:
        raise DataError(f"data.sql_schema: {name} is no schema that SQLite runs: {str(error).rstrip('.')}.") from error
    if not tables:
        raise DataError(f"data.sql_schema: {name} makes no table. Give its CREATE TABLE statements.")
    return statements
