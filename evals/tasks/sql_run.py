"""Run SQL that a model wrote in an SQLite database in memory, which it can read and nothing more.

An authorizer admits reading alone: no ATTACH, no PRAGMA, no writing, no extension. Steps, seconds, rows and the length
of values are bounded, so that a query that never ends is a failed query. The user's own schema may make tables and
fill them, and is kept from files as well. Torch-free.
"""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

MAX_STEPS = 5_000_000
"""Instructions of SQLite's virtual machine; a scan of 10,000 rows takes about 100,000."""
MAX_SECONDS = 5.0
"""Beyond any query that keeps to the steps on an ordinary machine."""
MAX_ROWS = 10_000
MAX_VALUE_BYTES = 100_000
MAX_RESULT_BYTES = 100_000_000
"""Of all values of a result: a row may have two thousand of them."""
MAX_DATABASE_BYTES = 2**29
PAGE_BYTES = 4096
MAX_SQL_BYTES = 100_000
STEPS_A_LOOK = 1_000

READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
MAKING = READING | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_REINDEX,
}
"""What a schema may do. SQLite itself writes its own tables when a table is made."""
REFUSED_FUNCTIONS = frozenset({"load_extension", "random", "randomblob", "fts3_tokenizer"})
"""Besides what reaches outside, what gives another result each time."""

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, by its declared type's affinity."""

    name: str
    is_number: bool


class SqlError(Exception):
    """A schema or a query that SQLite does not run; it never leaves the graders."""


class Database:
    """A database in memory."""

    def __init__(self, schema: str) -> None:
        """Run a schema. Raises SqlError where SQLite refuses it."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._connection.execute(f"PRAGMA max_page_count = {MAX_DATABASE_BYTES // PAGE_BYTES}")
        with self._bounded(MAKING):
            try:
                self._connection.executescript(schema)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise SqlError(str(error)) from error

    def __del__(self) -> None:
        self._connection.close()

    def tables(self) -> list[str]:
        """Names of the tables that the schema made."""
        found = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return [name for (name,) in found if not name.startswith("sqlite_")]

    def is_empty(self, table: str) -> bool:
        """Whether a table has no row."""
        return self._connection.execute(f"SELECT 1 FROM {_quoted(table)}").fetchone() is None  # noqa: S608

    def columns(self, table: str) -> list[Column]:
        """Columns that a row can be given for."""
        found = self._connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
        return [Column(name, _is_number(declared)) for _, name, declared, *_ in found]

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Add rows; one that breaks a constraint is left out. Raises SqlError where the table takes none at all."""
        marks = ", ".join("?" * len(rows[0]))
        try:
            self._connection.executemany(f"INSERT OR IGNORE INTO {_quoted(table)} VALUES ({marks})", rows)  # noqa: S608
        except sqlite3.Error as error:
            raise SqlError(str(error)) from error

    def query(self, sql: str) -> list[Row]:
        """Rows of one reading statement. Raises SqlError where it fails, writes, or exceeds a bound."""
        with self._bounded(READING):
            try:
                rows = _fetched(self._connection.execute(sql))
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
                raise SqlError(str(error)) from error
        return [tuple(map(_comparable, row)) for row in rows]

    @contextmanager
    def _bounded(self, allowed: frozenset[int]) -> Iterator[None]:
        def authorize(action: int, *about: str | None) -> int:
            name = (about[1] or "").lower()
            refused = action == sqlite3.SQLITE_FUNCTION and name in REFUSED_FUNCTIONS
            return sqlite3.SQLITE_OK if action in allowed and not refused else sqlite3.SQLITE_DENY

        deadline, looks = time.monotonic() + MAX_SECONDS, iter(range(MAX_STEPS // STEPS_A_LOOK))
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES if allowed is READING else 2**30)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES if allowed is READING else 2**24)
        self._connection.set_authorizer(authorize)
        self._connection.set_progress_handler(
            lambda: next(looks, None) is None or time.monotonic() > deadline, STEPS_A_LOOK
        )
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)
            self._connection.set_authorizer(None)


def _fetched(cursor: sqlite3.Cursor) -> list[Row]:
    """All rows. Raises SqlError where they are too many or too large."""
    rows: list[Row] = []
    size = 0
    for row in cursor:
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(rows) == MAX_ROWS:
            raise SqlError(f"more than {MAX_ROWS:,} rows")
        if size > MAX_RESULT_BYTES:
            raise SqlError(f"a result of more than {MAX_RESULT_BYTES:,} bytes")
        rows.append(row)
    return rows


def same_rows(expected: Sequence[Row], given: Sequence[Row], *, ordered: bool) -> bool:
    """Equal as lists, or as multisets where no order was asked for. Names of columns do not count, their order does."""
    return list(expected) == list(given) if ordered else Counter(expected) == Counter(given)


def _comparable(value: object) -> object:
    """Floats to ten digits, since sums in another order differ in the last ones; 1.0 is 1."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _is_number(declared: str) -> bool:
    """SQLite's own rule of affinity: text and blobs by these words, all other types are numeric."""
    return bool(declared) and re.search("CHAR|CLOB|TEXT|BLOB|DATE|TIME", declared.upper()) is None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
