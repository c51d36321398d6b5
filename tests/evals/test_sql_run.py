"""What SQL may do in its database in memory, and what ends it."""

import time
from pathlib import Path

import pytest

from evals.tasks.sql_run import Database, SqlError, same_rows

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) "


def database() -> Database:
    return Database("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'y');")


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'other.db'",
        "PRAGMA table_info(t)",
        "SELECT * FROM pragma_table_info('t')",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "INSERT INTO t VALUES (3, 'z')",
        "UPDATE t SET a = 0",
        "DELETE FROM t",
        "DROP TABLE t",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u (a)",
        "BEGIN",
        "SELECT random()",
        "SELECT 1; DELETE FROM t",
        "SELECT zeroblob(100000000)",
        "SELECT nothing FROM t",
        "SELEC 1",
        "SELECT 'a\0b'",
        "SELECT '\ud800'",
    ],
)
def test_a_query_reads_and_does_nothing_else(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = database()

    with pytest.raises(SqlError):
        asked.query(query)

    assert asked.query("SELECT COUNT(*), SUM(a) FROM t") == [(3, 5)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("query", ["SELECT COUNT(*) FROM r", "SELECT x FROM r"])
def test_a_query_without_end_is_ended(query: str) -> None:
    began = time.monotonic()

    with pytest.raises(SqlError):
        database().query(ENDLESS + query)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "schema",
    [
        "ATTACH 'other.db' AS other",
        "PRAGMA journal_mode = WAL",
        "CREATE VIRTUAL TABLE v USING fts5(a)",
        "CREATE TABLE t AS " + ENDLESS + "SELECT x FROM r",  # noqa: S608
        "CREATE TABLE t (",
    ],
)
def test_a_schema_reaches_no_file_and_ends(schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SqlError):
        Database(schema)

    assert list(tmp_path.iterdir()) == []


def test_tables_are_those_that_the_schema_makes() -> None:
    made = Database("CREATE TABLE b (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE a (x REAL, d DATE)")

    assert made.tables() == ["a", "b"]
    assert [(column.name, column.is_number) for column in made.columns("a")] == [("x", True), ("d", False)]
    assert made.is_empty("a")
    assert not database().is_empty("t")


def test_results_are_multisets_unless_an_order_is_asked_for() -> None:
    assert same_rows([(1,), (2,), (2,)], [(2,), (1,), (2,)], ordered=False)
    assert not same_rows([(1,), (2,), (2,)], [(2,), (1,), (1,)], ordered=False)
    assert not same_rows([(1,), (2,)], [(2,), (1,)], ordered=True)
    assert not same_rows([(1, 2)], [(2, 1)], ordered=False)


def test_sums_in_another_order_are_equal() -> None:
    found = database()

    assert found.query("SELECT 0.1 + 0.2") == found.query("SELECT 0.3")
    assert found.query("SELECT 2.0") == [(2,)]


COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10001) SELECT {} FROM c"


def test_a_result_is_bounded_in_bytes() -> None:
    began = time.monotonic()

    with pytest.raises(SqlError, match="a result of more than 100,000,000 bytes"):
        database().query(COUNT.format(", ".join(["zeroblob(100000)"] * 100)))

    assert time.monotonic() - began < 4
    with pytest.raises(SqlError, match="more than 10,000 rows"):
        database().query(COUNT.format("x"))


def test_the_tables_of_a_schema_are_bounded_in_bytes() -> None:
    with pytest.raises(SqlError, match="full"):
        Database("CREATE TABLE t (a); INSERT INTO t " + COUNT.format("zeroblob(1000000)"))
