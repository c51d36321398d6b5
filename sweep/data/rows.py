"""What a row is on its way from a file to a prompt, and how rows that do not fit are counted.

    RawRow  one record of a file, any columns      ─ shapes ─►  Row  a conversation (or text) and its answer

A row that does not fit is never mended or shortened: it becomes a BadRow with its number, and `refuse_too_many` decides
whether the rest may be used. Reasons quote the user's file, so they are cut short and stripped of control characters.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.spec import Spec
from sweep.errors import DataError

SHOWN = 10
"""Bad rows listed in one message."""
QUOTED = 60
"""Characters of the user's text quoted in one message."""


class BadRow(Spec):
    """One row that is left out."""

    file: str
    """The file or Hub data set, as the study names it."""
    row: int
    """Line of a JSONL file, number of the row elsewhere, counted from 1."""
    reason: str
    """Why it does not fit."""

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.reason}"


class UnfitError(Exception):
    """A row does not fit; it never leaves this package, where it becomes a BadRow."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One record as the file has it."""

    number: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RawRows:
    """All records of one file, and those that could not be read."""

    file: str
    rows: Sequence[RawRow]
    bad: Sequence[BadRow]

    @property
    def total(self) -> int:
        """Records in the file, readable or not."""
        return len(self.rows) + len(self.bad)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One record that fits: what comes before the answer, and the answer."""

    number: int
    """Line or row in its file, counted from 1."""
    turns: tuple[Message, ...]
    """The conversation before the answer; empty for plain text."""
    plain: str | None
    """The prompt where no chat template is applied; none where only a template can render the conversation."""
    answer: str
    """What the assistant says, or the whole of a plain text."""
    group: str | None
    sql_schema: str | None = None
    """Statements that make the tables that an SQL answer asks."""

    def digest(self) -> str:
        """Identity of the content, whatever its file, number, group, model or template."""
        content = [[turn.role, turn.content] for turn in self.turns]
        asked = [] if self.sql_schema is None else [self.sql_schema]
        return hashlib.sha256(json.dumps([content, self.answer, *asked]).encode()).hexdigest()


def refuse_too_many(file: str, bad: Sequence[BadRow], *, total: int, limit: float) -> None:
    """Raise DataError where more rows do not fit than the limit allows: a share below 1, a number from 1 on."""
    allowed = int(limit * total) if limit < 1 else int(limit)
    if len(bad) <= allowed:
        return
    first = "; ".join(str(row) for row in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raisable = " or training.max_length" if would_fit_if_raised(bad) else ""
    raise DataError(
        f"{file}: {len(bad)} of {total} rows do not fit, and data.max_bad_rows: {limit:g} allows {allowed}: "
        f"{first}{more}. Mend these rows or raise data.max_bad_rows{raisable}."
    )


def would_fit_if_raised(bad: Sequence[BadRow]) -> bool:
    """Whether any of these rows is only too long for the study, which may ask for more."""
    return any("training.max_length" in row.reason for row in bad)


def quoted(value: object) -> str:
    """The user's text for a message: printable, on one line, cut short."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else f"{value!r}"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def listed(names: Sequence[str]) -> str:
    """Column names for a message, the first twenty of them."""
    shown = ", ".join(name if name.isprintable() and len(name) <= QUOTED else quoted(name) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "none"  # noqa: PLR2004
