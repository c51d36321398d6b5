"""Recognise a file's shape by its columns and turn its records into rows.

The four shapes are TRL's. A prompt is a conversation of one user turn, an instruction likewise; whether a chat template
or plain text renders them is decided later. Without a template an instruction reads `instruction`, a blank line,
`input`, a blank line, while a prompt is joined with its completion exactly as given, no space put in between.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sweep.data import cells
from sweep.data.rows import BadRow, Message, RawRow, RawRows, Row, UnfitError, listed, quoted
from sweep.errors import DataError
from sweep.spec import DataSpec, is_sql_file


@dataclass(frozen=True, slots=True)
class Content:
    """What a shape makes of one record."""

    turns: tuple[Message, ...]
    plain: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Shape:
    """One layout of columns, in our names."""

    name: str
    required: tuple[str, ...]
    build: Callable[[Mapping[str, object]], Content]
    optional: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " + ".join([*self.required, *(f"[{column}]" for column in self.optional)])


@dataclass(frozen=True, slots=True)
class FittedRows:
    """The rows of one file that fit its shape, and those that do not."""

    file: str
    shape: Shape
    rows: Sequence[Row]
    bad: Sequence[BadRow] = field(default_factory=tuple)
    total: int = 0


def fit_rows(raw: RawRows, spec: DataSpec, *, group_required: bool) -> FittedRows:
    """Turn records into rows. Raises DataError where the columns make no shape or the group is missing."""
    counts = Counter(column for row in raw.rows for column in row.fields)
    if not raw.total:
        raise DataError(f"{raw.file}: holds no rows. Give at least one row for each split.")
    if not raw.rows:
        return FittedRows(raw.file, SHAPES["text"], [], raw.bad, raw.total)
    # A stray key in a few records neither makes a shape nor makes one ambiguous.
    usual = [column for column, count in counts.items() if 2 * count >= len(raw.rows)]
    names = _column_names(list(counts), spec, file=raw.file)
    shape = _find_shape(usual, names, spec, file=raw.file)
    group = _group_column(list(counts), spec, file=raw.file, required=group_required)
    sql_schema = _sql_schema_column(list(counts), spec, file=raw.file)
    rows: list[Row] = []
    bad = list(raw.bad)
    for record in raw.rows:
        try:
            rows.append(_row(record, shape, names, group, sql_schema))
        except UnfitError as error:
            bad.append(BadRow(file=raw.file, row=record.number, reason=str(error)))
    return FittedRows(raw.file, shape, rows, sorted(bad, key=lambda row: row.row), raw.total)


def _row(record: RawRow, shape: Shape, names: Mapping[str, str], group: str | None, sql_schema: str | None) -> Row:
    columns = (*shape.required, *shape.optional)
    content = shape.build({ours: record.fields.get(names[ours]) for ours in columns if ours in names})
    return Row(
        number=record.number,
        turns=content.turns,
        plain=content.plain,
        answer=content.answer,
        group=None if group is None else cells.group(record.fields.get(group), group),
        sql_schema=None if sql_schema is None else cells.sql_schema(record.fields.get(sql_schema), sql_schema),
    )


def _messages(values: Mapping[str, object]) -> Content:
    turns = cells.conversation(values.get("messages"), "messages")
    if turns[-1].role != "assistant":
        raise UnfitError(f"the last message is from {quoted(turns[-1].role)}; it must be the assistant's")
    if len(turns) == 1:
        raise UnfitError("the assistant's message has none before it")
    return Content(turns[:-1], None, turns[-1].content)


def _prompt_completion(values: Mapping[str, object]) -> Content:
    prompt, completion = values.get("prompt"), values.get("completion")
    if cells.is_conversation(completion):
        turns = cells.conversation(completion, "completion")
        if len(turns) != 1 or turns[0].role != "assistant":
            raise UnfitError("completion must hold one message, the assistant's; put earlier turns into the prompt")
        answer = turns[0].content
    else:
        answer = cells.answer(completion, "completion")
    if isinstance(prompt, list):
        return Content(cells.conversation(prompt, "prompt"), None, answer)
    text = cells.text(prompt, "prompt")
    return Content((Message("user", text),), text, answer)


def _plain_text(values: Mapping[str, object]) -> Content:
    return Content((), "", cells.text(values.get("text"), "text"))


def _instruction(values: Mapping[str, object]) -> Content:
    parts = [cells.text(values.get("instruction"), "instruction")]
    if values.get("input") not in (None, ""):
        parts.append(cells.answer(values.get("input"), "input"))
    prompt = "\n\n".join(parts)
    return Content((Message("user", prompt),), f"{prompt}\n\n", cells.answer(values.get("output"), "output"))


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("messages", ("messages",), _messages),
        Shape("prompt", ("prompt", "completion"), _prompt_completion),
        Shape("text", ("text",), _plain_text),
        Shape("instruction", ("instruction", "output"), _instruction, ("input",)),
    )
}
OUR_NAMES = tuple(column for shape in SHAPES.values() for column in (*shape.required, *shape.optional))


def _column_names(found: Sequence[str], spec: DataSpec, *, file: str) -> Mapping[str, str]:
    """Our name of each usable column to the file's name."""
    for ours, theirs in spec.columns.items():
        if ours not in OUR_NAMES:
            raise DataError(
                f"data.columns: unknown name {quoted(ours)}. Allowed are {listed(OUR_NAMES)}."
                f"{_nearest(ours, OUR_NAMES)}"
            )
        if theirs not in found:
            raise DataError(
                f"{file}: no column {quoted(theirs)}, which data.columns names for {ours}. "
                f"Columns found: {listed(found)}.{_nearest(theirs, found)}"
            )
    taken = set(spec.columns.values())
    if len(taken) < len(spec.columns):
        raise DataError("data.columns: two of our names share one column of the file. Name each column once.")
    unmapped = {column: column for column in found if column in OUR_NAMES and column not in taken}
    return {**unmapped, **spec.columns}


def _find_shape(usual: Sequence[str], names: Mapping[str, str], spec: DataSpec, *, file: str) -> Shape:
    def complete(shape: Shape) -> bool:
        return all(names.get(column) in usual for column in shape.required)

    found = [shape for shape in SHAPES.values() if complete(shape)]
    # Columns that the user named say which shape is meant, even one that is named as it already is.
    meant = [shape for shape in found if set(spec.columns) & {*shape.required, *shape.optional}]
    allowed = "; ".join(str(shape) for shape in SHAPES.values())
    if len(meant or found) > 1:
        both = " and ".join(f"'{shape}'" for shape in meant or found)
        raise DataError(
            f"{file}: columns {listed(usual)} fit more than one shape, {both}. "
            "Say which is meant, such as data.columns: {prompt: prompt, completion: completion}."
        )
    # A file that forgot to map its prompt would otherwise be learned as plain text, without its answers.
    stray = [column for column in names if column in usual and column != "text"]
    if found == [SHAPES["text"]] and stray and not meant:
        raise DataError(
            f"{file}: columns {listed(usual)} are plain text, but {listed(stray)} would be left out. "
            "Say what is meant: data.columns: {text: text}, or such as {prompt: text, completion: output}."
        )
    if not found:
        near = _nearest_column(usual)
        raise DataError(
            f"{file}: columns {listed(usual)} make none of the shapes {allowed}. "
            f"Name yours, such as data.columns: {{prompt: question, completion: answer}}.{near}"
        )
    return (meant or found)[0]


def _group_column(found: Sequence[str], spec: DataSpec, *, file: str, required: bool) -> str | None:
    if spec.group is None or spec.group in found:
        return spec.group
    if not required:
        return None
    raise DataError(
        f"{file}: no column {quoted(spec.group)}, which data.group names. Columns found: {listed(found)}."
        f"{_nearest(spec.group, found)}"
    )


def _sql_schema_column(found: Sequence[str], spec: DataSpec, *, file: str) -> str | None:
    column = None if spec.sql_schema is None or is_sql_file(spec.sql_schema) else spec.sql_schema
    if column is None or column in found:
        return column
    raise DataError(
        f"{file}: no column {quoted(column)}, which data.sql_schema names. Columns found: {listed(found)}."
        f"{_nearest(column, found)}"
    )


def _nearest(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return f" Did you mean {quoted(near[0])}?" if near else ""


def _nearest_column(found: Sequence[str]) -> str:
    return next((hint for column in found if column not in OUR_NAMES and (hint := _nearest(column, OUR_NAMES))), "")
