"""Grading SQL by what it returns, and by its text."""

import json
from pathlib import Path

import pytest

from evals.spec import OwnDataSpec, OwnRow
from evals.tasks.sql_answers import build_bench, build_sql_grader, find_sql, normalize_sql
from evals.tasks.sql_fill import filled_databases

ROWS = (
    "CREATE TABLE city (name TEXT, country TEXT, people INTEGER);"
    "INSERT INTO city VALUES ('Rome', 'Italy', 28), ('Milan', 'Italy', 14), ('Oslo', 'Norway', 7);"
)
EMPTY = "CREATE TABLE city (name TEXT, country TEXT, people INTEGER)"
JOINED = (
    "CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT, country_id INTEGER REFERENCES country(id));"
    "CREATE TABLE country (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"
)
ITALY = "SELECT name FROM city WHERE country = 'Italy' AND people > 10"


def grade(expected: str, answer: str, schema: str | None) -> dict[str, float]:
    row = OwnRow(row=1, prompt="?", completion=expected, answer=expected, sql_schema=schema)
    return build_sql_grader(OwnDataSpec(rows=Path("rows.jsonl"), answer="sql"), [row])(row, answer)


def test_without_a_schema_text_alone_is_compared() -> None:
    assert grade(ITALY, "select name from CITY where country='Italy' and people>10 ;", None) == {
        "exact_match": 0.0,
        "normalized_match": 1.0,
        "no_answer": 0.0,
    }


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("SELECT c.name FROM city AS c WHERE people > 10 AND c.country IN ('Italy')", 1.0),
        ("SELECT name FROM city WHERE country = 'Italy' ORDER BY people", 1.0),
        ("SELECT name FROM city WHERE country = 'italy'", 0.0),
        ("SELECT country FROM city WHERE people > 10", 0.0),
        ("SELECT nme FROM city", 0.0),
        ("DELETE FROM city", 0.0),
        ("I cannot say.", 0.0),
    ],
)
def test_on_the_users_rows_an_answer_is_right_if_it_returns_the_same(answer: str, right: float) -> None:
    grades = grade(ITALY, answer, ROWS)

    assert grades["execution_match"] == right
    assert "filled_match" not in grades


def test_an_order_counts_where_the_expected_query_asks_for_one() -> None:
    expected = "SELECT name FROM city ORDER BY people"

    assert grade(expected, "SELECT name FROM city ORDER BY people ASC", ROWS)["execution_match"] == 1.0
    assert grade(expected, "SELECT name FROM city ORDER BY people DESC", ROWS)["execution_match"] == 0.0
    within = "SELECT name FROM (SELECT name FROM city ORDER BY people)"
    assert grade(within, "SELECT name FROM city", ROWS)["execution_match"] == 1.0


def test_what_does_not_run_is_not_valid_and_what_is_no_query_is_no_answer() -> None:
    broken, none = grade(ITALY, "SELECT nme FROM city", ROWS), grade(ITALY, "Sorry.", ROWS)

    assert (broken["sql_valid"], broken["no_answer"]) == (0.0, 0.0)
    assert (none["sql_valid"], none["no_answer"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        (ITALY, "SELECT name FROM city WHERE country = 'Italy'"),
        (ITALY, "SELECT name FROM city WHERE country = 'Italy' AND people >= 10"),
        (ITALY, "SELECT name FROM city WHERE country = 'Italy' OR people > 10"),
        (ITALY, "SELECT country FROM city WHERE country = 'Italy' AND people > 10"),
        (ITALY, "SELECT name FROM city WHERE country = 'Spain' AND people > 10"),
        (ITALY, "SELECT name FROM city WHERE country = 'Italy' AND people > 11"),
        ("SELECT MIN(people) FROM city", "SELECT MAX(people) FROM city"),
        ("SELECT COUNT(name) FROM city", "SELECT COUNT(DISTINCT name) FROM city"),
        ("SELECT name FROM city WHERE name LIKE '%ome%'", "SELECT name FROM city WHERE name LIKE 'ome%'"),
        ("SELECT name FROM city", "SELECT name FROM city WHERE 0"),
    ],
)
def test_filled_tables_tell_a_wrong_query_from_the_right_one(expected: str, wrong: str) -> None:
    assert grade(expected, wrong, EMPTY)["filled_match"] == 0.0
    assert grade(expected, f"  {expected.lower().replace('italy', 'Italy')};", EMPTY)["filled_match"] == 1.0
    assert "execution_match" not in grade(expected, wrong, EMPTY)


def test_filled_tables_meet_in_joins_in_spite_of_constraints() -> None:
    expected = "SELECT c.name FROM city c JOIN country k ON c.country_id = k.id WHERE k.name = 'Italy'"

    assert grade(expected, expected, JOINED)["filled_match"] == 1.0
    wrong = "SELECT c.name FROM city c JOIN country k ON c.id = k.id WHERE k.name = 'Italy'"
    assert grade(expected, wrong, JOINED)["filled_match"] == 0.0


def test_a_half_empty_database_is_filled_where_it_is_empty() -> None:
    schema = f"{ROWS} CREATE TABLE visit (city TEXT, day INTEGER)"
    filled = filled_databases(schema, "SELECT day FROM visit WHERE city = 'Rome'")

    assert all(database.query("SELECT COUNT(*) FROM city") == [(3,)] for database in filled)
    assert all(not database.is_empty("visit") for database in filled)
    assert "filled_match" in grade("SELECT day FROM visit", "SELECT day FROM visit", schema)


def test_the_rows_depend_on_schema_and_expected_query_alone() -> None:
    first, second = (filled_databases(EMPTY, ITALY)[2].query("SELECT * FROM city") for _ in range(2))

    assert first == second
    assert first != filled_databases(EMPTY, "SELECT name FROM city")[2].query("SELECT * FROM city")


@pytest.mark.parametrize(
    "expected",
    ["SELECT DATE_FORMAT(name, 'x') FROM city", "UPDATE city SET people = 0", "SELECT 1", "SELECT nme FROM x"],
)
def test_a_row_whose_expected_query_tells_nothing_is_counted_and_not_graded(expected: str) -> None:
    grades = grade(expected, ITALY, EMPTY)

    assert (grades["unjudged"], grades["sql_valid"]) == (1.0, 1.0)
    assert {"filled_match", "execution_match"} & grades.keys() == set()
    assert grade(ITALY, ITALY, EMPTY)["unjudged"] == 0.0


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("```sql\nSELECT a\nFROM t;\n```\nThis selects a.", "SELECT a\nFROM t"),
        ("Here: SELECT a FROM t WHERE b = 'x;y'; SELECT 2", "SELECT a FROM t WHERE b = 'x;y'"),
        ("With pleasure: select 1", "select 1"),
        ("WITH c AS (SELECT 1) SELECT * FROM c", "WITH c AS (SELECT 1) SELECT * FROM c"),
        ("I would not know.", ""),
        ("", ""),
    ],
)
def test_the_first_reading_statement_of_an_answer_is_taken(answer: str, found: str) -> None:
    assert find_sql(answer) == found


def test_normalizing_leaves_quoted_text_alone() -> None:
    assert normalize_sql("SELECT  a,b FROM t WHERE c = 'It  IS' ;") == normalize_sql(
        "select a , b from T where c='It  IS'"
    )
    assert normalize_sql("SELECT 'a'") != normalize_sql("SELECT 'A'")


@pytest.mark.shared
def test_wikisql_can_be_judged_and_its_own_queries_are_right(shared_data: Path) -> None:
    lines = (shared_data / "wikisql" / "test.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    benches = [build_bench(row["context"], row["answer"]) for row in rows]
    spoiled = [(row, row["answer"].rsplit(" AND ", 1)[0]) for row in rows if " AND " in row["answer"]]

    assert sum(bench is None for bench in benches) <= 0.05 * len(rows)
    assert all(
        grade(row["answer"], row["answer"], row["context"])["filled_match"]
        for row, bench in zip(rows, benches, strict=True)
        if bench is not None
    )
    passed = [grade(row["answer"], answer, row["context"]).get("filled_match") == 1.0 for row, answer in spoiled]
    assert sum(passed) <= 0.05 * len(spoiled)
