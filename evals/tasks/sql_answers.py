"""Grade an SQL answer by what it returns where there is a schema, and by its text always.

`execution_match` compares results on the user's own rows and is given where every table has some. Where a table is
empty it is filled first, and the metric is called `filled_match`, since it then rests on rows that nobody has. A row
whose expected query does not run, or returns the same in every filled database, tells nothing: it has neither metric
and is counted as `unjudged`. Torch-free.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evals.spec import OwnDataSpec, OwnRow
from evals.tasks.json_answers import FENCE
from evals.tasks.sql_fill import filled_databases
from evals.tasks.sql_run import Database, Row, SqlError, same_rows

BEGINNING = re.compile(r"\bselect\b|\bwith\s+(?:recursive\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?as\b", re.IGNORECASE)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
STATEMENT = re.compile(rf"(?:{QUOTED.pattern}|[^;])*")
SPACE = re.compile(r"\s*([(),=<>+*/-])\s*|\s+")
ORDER = re.compile(r"\border\s+by\b", re.IGNORECASE)
INNERMOST = re.compile(r"\([^()]*\)")

Grades = dict[str, float]


@dataclass(frozen=True, slots=True)
class Bench:
    """Databases to run answers in, and what the expected query returns in each."""

    databases: Sequence[Database]
    expected: Sequence[Sequence[Row]]
    metric: str
    ordered: bool


def build_sql_grader(own: OwnDataSpec, _: Sequence[OwnRow]) -> Callable[[OwnRow, str], Grades]:
    """Grade answers by text, and by execution where there is a schema."""
    # All answers to one row come one after another: the best constant answer asks for twenty.
    kept: dict[tuple[str, str], Bench | None] = {}

    def grade(row: OwnRow, answer: str) -> Grades:
        grades = grade_text(row.answer, answer)
        schema = row.sql_schema or own.sql_schema
        if schema is None:
            return grades
        if (schema, row.answer) not in kept:
            kept.clear()
            kept[schema, row.answer] = build_bench(schema, row.answer)
        return grades | grade_execution(kept[schema, row.answer], schema, find_sql(answer))

    return grade


def grade_text(expected: str, answer: str) -> Grades:
    """Compare the text of two queries, as it is and with layout and case evened out."""
    return {
        "exact_match": float(answer.strip() == expected.strip()),
        "normalized_match": float(normalize_sql(find_sql(answer) or answer) == normalize_sql(expected)),
        "no_answer": float(not find_sql(answer)),
    }


def build_bench(schema: str, expected: str) -> Bench | None:
    """Databases that can tell answers apart from the expected query; none where there are no such."""
    try:
        database = Database(schema)
        own_rows = bool(database.tables()) and not any(map(database.is_empty, database.tables()))
        databases = [database] if own_rows else filled_databases(schema, expected)
        results = [database.query(_statement(expected)) for database in databases]
    except SqlError:
        return None
    ordered = _is_ordered(expected)
    if not own_rows and all(same_rows(results[0], other, ordered=False) for other in results):
        return None
    return Bench(databases, results, "execution_match" if own_rows else "filled_match", ordered)


def grade_execution(bench: Bench | None, schema: str, query: str) -> Grades:
    """Run a query; it is right where it returns what the expected one does, in every database."""
    if bench is None:
        return {"sql_valid": float(_runs(schema, query)), "unjudged": 1.0}
    try:
        given = [database.query(query) for database in bench.databases] if query else None
    except SqlError:
        given = None
    right = given is not None and all(
        same_rows(expected, rows, ordered=bench.ordered) for expected, rows in zip(bench.expected, given, strict=True)
    )
    return {bench.metric: float(right), "sql_valid": float(given is not None), "unjudged": 0.0}


def find_sql(answer: str) -> str:
    """The first statement that reads, within a fenced block if there is one; empty where there is none."""
    fenced = FENCE.search(answer)
    text = fenced.group(1) if fenced else answer
    beginning = BEGINNING.search(text)
    return _statement(text[beginning.start() :]) if beginning else ""


def normalize_sql(query: str) -> str:
    """One text for queries that differ in white space, the case of words, or a closing semicolon."""
    parts: list[str] = []
    end = 0
    for quoted in QUOTED.finditer(query):
        parts += [_even(query[end : quoted.start()]), quoted.group()]
        end = quoted.end()
    parts.append(_even(query[end:]))
    return "".join(parts).strip().rstrip("; ")


def _even(text: str) -> str:
    return SPACE.sub(lambda found: found.group(1) or " ", text.casefold())


def _statement(text: str) -> str:
    found = STATEMENT.match(text)
    return found.group().strip() if found else ""


def _is_ordered(query: str) -> bool:
    """Whether the outermost SELECT asks for an order."""
    bare, count = QUOTED.sub("", query), 1
    while count:
        bare, count = INNERMOST.subn("", bare)
    return ORDER.search(bare) is not None


def _runs(schema: str, query: str) -> bool:
    try:
        return bool(query) and Database(schema).query(query) is not None
    except SqlError:
        return False
