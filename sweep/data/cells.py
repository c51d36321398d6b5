"""Check one value of a record: text, an answer, a conversation, a group.

Each function gives the value in our form or raises UnfitError with the reason. Answers that are not text are written as
JSON on one line, so that a file may hold the object itself.
"""

import json
import math

from evals.tasks.sql_run import Database, SqlError
from sweep.data.rows import Message, UnfitError, listed, quoted

NAMED_TYPES = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}


def text(value: object, column: str) -> str:
    """Text that is not blank and that a tokenizer can encode."""
    if _is_missing(value):
        raise UnfitError(f"{column} is missing")
    if not isinstance(value, str):
        raise UnfitError(f"{column} is {_type_name(value)}, {quoted(value)}; text is needed")
    if not value.strip():
        raise UnfitError(f"{column} is empty")
    return _encodable(value, column)


def answer(value: object, column: str) -> str:
    """Text as it is; numbers, lists and objects as JSON on one line."""
    if isinstance(value, str) or _is_missing(value):
        return text(value, column)
    try:
        return _encodable(json.dumps(value, ensure_ascii=False, allow_nan=False), column)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitError(f"{column} is {_type_name(value)} that cannot be written as JSON: {error}") from error


def conversation(value: object, column: str) -> tuple[Message, ...]:
    """Messages with a role and text; only the last one may not be empty."""
    if _is_missing(value):
        raise UnfitError(f"{column} is missing")
    if not isinstance(value, list):
        raise UnfitError(f"{column} is {_type_name(value)}, {quoted(value)}; a list of messages is needed")
    if not value:
        raise UnfitError(f"{column} is empty")
    turns = tuple(_message(item, f"message {number} of {column}") for number, item in enumerate(value, start=1))
    text(turns[-1].content, f"the last message of {column}")
    return turns


def is_conversation(value: object) -> bool:
    """Whether a value is TRL's list of messages, and not a list that is itself an answer."""
    return isinstance(value, list) and bool(value) and all(_is_message(item) for item in value)


def group(value: object, column: str) -> str:
    """A group's value as text; a row without one belongs nowhere."""
    if _is_missing(value) or value == "":
        raise UnfitError(f"group column {column} is empty")
    return answer(value, f"group column {column}")


def sql_schema(value: object, column: str) -> str:
    """Statements that make at least one table in SQLite."""
    statements = text(value, column)
    try:
        made = Database(statements).tables()
    except SqlError as error:
        raise UnfitError(f"{column} is no schema that SQLite runs: {error}") from error
    if not made:
        raise UnfitError(f"{column} makes no table: {quoted(statements)}")
    return statements


def _message(item: object, place: str) -> Message:
    if not isinstance(item, dict):
        raise UnfitError(f"{place} is {_type_name(item)}; an object with role and content is needed")
    if not _is_message(item):
        raise UnfitError(f"{place} has {listed([str(key) for key in item])}; role and content are needed")
    content = item["content"]
    if not isinstance(content, str):
        raise UnfitError(f"{place} has content that is {_type_name(content)}; text is needed")
    return Message(text(item["role"], f"the role of {place}"), _encodable(content, place))


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and "role" in item and "content" in item


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _encodable(value: str, column: str) -> str:
    if "\0" in value:
        raise UnfitError(f"{column} contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnfitError(f"{column} contains half a surrogate pair at character {error.start + 1}") from error
    return value


def _type_name(value: object) -> str:
    return NAMED_TYPES.get(type(value), "empty" if value is None else f"of type {type(value).__name__}")
