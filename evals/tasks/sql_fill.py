"""Rows for tables that have none, so that different queries give different results.

On empty tables all queries are equal. So such tables are filled from a seed of the schema and the expected query alone,
the same for every model: columns that the expected query compares hold its literals often, and their neighbours; the
rest is drawn from small pools that tables share (so that joins meet) and from wide ranges (so that extremes differ).
Several databases are filled, as in test-suite accuracy (Zhong et al. 2020, arXiv 2010.02840): a query counts as right
where it agrees in all of them. That is evidence, not proof: two queries may differ on rows that were not drawn, and
agreement on the user's own rows, which is another metric, is worth more. Torch-free.
"""

import random
import re
from collections.abc import Mapping, Sequence

from evals.tasks.sql_run import Column, Database

DATABASES = 6
ROWS = 40
COMPARED_SHARE = 0.7
"""Values of a compared column that are taken from the expected query."""
NULL_SHARE = 0.04
WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "isle", "jade")
SMALL, WIDE, OFFSETS = 9, 5_000, 30

STRING = r"'((?:[^']|'')*)'"
NUMBER = r"(-?\d+(?:\.\d+)?)\b"
NAME = r"(?:\"((?:[^\"]|\"\")+)\"|`([^`]+)`|\[([^\]]+)\]|(\w+))"
COMPARISON = re.compile(rf"{NAME}\s*(?:=|==|<>|!=|<=|>=|<|>|(?:not\s+)?like)\s*(?:{STRING}|{NUMBER})", re.IGNORECASE)
LITERAL = re.compile(rf"{STRING}|(?<![\w.\"]){NUMBER}")


def filled_databases(schema: str, expected: str) -> list[Database]:
    """Databases whose empty tables have rows now. Raises SqlError where the schema does not run."""
    compared, literals = _compared(expected), _literals(LITERAL.findall(expected))
    databases = []
    for number in range(DATABASES):
        draw = random.Random(f"{number}\n{schema}\n{expected}")  # noqa: S311
        # Without another beginning in each database, the smallest number would be the same in all of them.
        first, database = draw.randint(0, OFFSETS), Database(schema)
        for table in database.tables():
            if database.is_empty(table):
                columns = database.columns(table)
                rows = [[_value(column, compared, literals, first, draw) for column in columns] for _ in range(ROWS)]
                database.insert(table, rows)
        databases.append(database)
    return databases


def _value(
    column: Column,
    compared: Mapping[str, Sequence[object]],
    literals: Sequence[object],
    first: int,
    draw: random.Random,
) -> object:
    wanted = compared.get(column.name.casefold(), ())
    if wanted and draw.random() < COMPARED_SHARE:
        return draw.choice(wanted)
    if draw.random() < NULL_SHARE:
        return None
    if column.is_number:
        numbers = [literal for literal in literals if not isinstance(literal, str)]
        near = draw.randint(first, first + SMALL)
        return draw.choice([near, draw.randint(0, WIDE), *(draw.choice(numbers) for _ in numbers[:1])])
    return draw.choice([*WORDS, *map(str, literals)])


def _compared(expected: str) -> Mapping[str, Sequence[object]]:
    """Literals by the name of the column that they are compared with; a number is likelier than its neighbours."""
    found: dict[str, list[object]] = {}
    for *names, text, number in COMPARISON.findall(expected):
        name = next(filter(None, names), "").replace('""', '"').casefold()
        values = _literals([(text, number)])
        found.setdefault(name, []).extend([*values, *values[:1]])
    return found


def _literals(found: Sequence[tuple[str, str]]) -> list[object]:
    """Values of literals: text with and without LIKE's wildcards, numbers with both neighbours."""
    values: list[object] = []
    for text, number in found:
        if number:
            exact = float(number) if "." in number else int(number)
            values += [exact, exact - 1, exact + 1]
        else:
            value = text.replace("''", "'")
            values += [value, value.replace("%", "")] if "%" in value else [value]
    return values
