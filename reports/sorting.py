"""What a cell of a table sorts by: the quantity that its text stands for, not the text.

`3 min 4 s` is less than `1 h 2 min`, `980 kB` less than `1.2 MB`, and `0.617 ± 0.063` and `0.41 to 0.55` go by their
first number. A cell without a number has no place among numbers.
"""

import math
import re
from collections.abc import Mapping

from reports.document import Cell
from reports.wording import BYTE_UNITS, HOUR, MINUTE

UNITS: Mapping[str, float] = {
    "s": 1.0,
    "min": MINUTE,
    "h": HOUR,
    **{unit: 1000.0**power for power, unit in enumerate(BYTE_UNITS)},
}
GOES_ON = frozenset({"h", "min"})
"""Units after which a duration goes on in a smaller one; all else after a number is its error or another number."""
QUANTITY = re.compile(
    r"\s*[<>≤≥≈~]?\s*(?P<number>[+\-\u2212]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+\-]?\d+)?|[+\-]?inf\b)\s*(?P<unit>[A-Za-z]*)"
)


def sort_value(cell: str | Cell) -> float | None:
    """The number that a cell sorts by; none where it shows none."""
    if isinstance(cell, Cell) and cell.value is not None:
        return None if math.isnan(cell.value) else cell.value
    found = QUANTITY.match(cell if isinstance(cell, str) else cell.text)
    if found is None:
        return None
    value = _amount(found)
    while found is not None and found["unit"] in GOES_ON:
        found = QUANTITY.match(found.string, found.end())
        value += 0.0 if found is None else _amount(found)
    return value


def _amount(found: re.Match[str]) -> float:
    number = found["number"].replace(",", "").replace("\u2212", "-")
    return float(number) * UNITS.get(found["unit"], 1.0)
