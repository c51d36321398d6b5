"""Read the user's files line by line, so that what cannot be read has a line number.

Files are taken as hostile: lines, rows, columns and depth are bounded, encodings checked, and a broken line becomes a
BadRow instead of ending the study. Archives are not opened at all. Only what makes the whole file unreadable raises
DataError. The `datasets` library reads Hub data sets alone: for local files its cache would give the rows of another
file of the same name.
"""

import csv
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evals.outside import parse_json
from sweep.data.rows import BadRow, RawRow, RawRows, listed, quoted
from sweep.errors import DataError

if TYPE_CHECKING:
    from pyarrow import Array

MAX_LINE_BYTES = 16 * 2**20
MAX_FILE_BYTES = 2**30
"""A file's text, and what a Parquet file comes to when it is unpacked: all rows are held in memory at once."""
MAX_ROWS = 2_000_000
MAX_COLUMNS = 10_000
PARQUET_ROWS = 256
"""Rows that are unpacked at a time: a few kilobytes of Parquet may hold as many copies of a long text as they like."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"

Reader = Callable[[Path, str], RawRows]


def read_file(path: Path, *, name: str) -> RawRows:
    """Read every row of a file by its suffix. Raises DataError where the file as a whole cannot be read."""
    try:
        if path.suffix.lower() != ".parquet":
            _refuse_more_bytes(path.stat().st_size, name)
        return READERS[path.suffix.lower()](path, name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or _first_line(error)}.") from error


def file_sha256(path: Path, *, name: str) -> str:
    """SHA-256 of a file's bytes. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}.") from error


def check_file(path: Path, *, name: str) -> None:
    """Raise DataError where there is no such file or its suffix is unknown."""
    if not path.exists():
        near = [f"'{found}'" for found in _neighbours(path)]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DataError(f"{name}: no such data file at {path}.{hint}")
    if not path.is_file():
        raise DataError(f"{name}: not a file. Name one file of type {listed(sorted(READERS))}.")
    if path.suffix.lower() not in READERS:
        raise DataError(f"{name}: unknown file type {quoted(path.suffix)}. Allowed are {listed(sorted(READERS))}.")


def _neighbours(path: Path) -> list[str]:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir() if entry.suffix in READERS] if folder.is_dir() else []
    return difflib.get_close_matches(path.name, names, n=2, cutoff=0.75)


def _read_jsonl(path: Path, name: str) -> RawRows:
    rows: list[RawRow] = []
    bad: list[BadRow] = []
    for number, line in _text_lines(path, name):
        if isinstance(line, str) and not line.strip():
            continue
        _refuse_more_rows(len(rows) + len(bad), name)
        try:
            if isinstance(line, ValueError):
                raise line
            rows.append(RawRow(number, _object(_parse_json(line))))
        except ValueError as error:
            bad.append(BadRow(file=name, row=number, reason=str(error)))
    return RawRows(name, rows, bad)


def _read_json(path: Path, name: str) -> RawRows:
    content = path.read_bytes()
    _refuse_utf16(content, name)
    try:
        parsed = _parse_json(content.removeprefix(UTF8_MARK).decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 at byte {error.start + 1}. Save the file as UTF-8.") from error
    except ValueError as error:
        hint = " A file with one object a line is named .jsonl." if "Extra data" in str(error) else ""
        raise DataError(f"{name}: {error}.{hint}") from error
    listing = parsed.get("data") if isinstance(parsed, dict) else parsed
    if not isinstance(listing, list):
        raise DataError(
            f"{name}: holds no list of rows. Allowed are a list of objects, or an object with it under 'data'."
        )
    _refuse_more_rows(len(listing) - 1, name)
    rows: list[RawRow] = []
    bad: list[BadRow] = []
    for number, value in enumerate(listing, start=1):
        try:
            rows.append(RawRow(number, _object(value)))
        except ValueError as error:
            bad.append(BadRow(file=name, row=number, reason=str(error)))
    return RawRows(name, rows, bad)


def _read_csv(path: Path, name: str) -> RawRows:
    # Strict, so that a quote that is never closed is an error instead of swallowing the rest of the file.
    reader = csv.reader(_decoded_lines(path, name), strict=True)
    rows: list[RawRow] = []
    bad: list[BadRow] = []
    try:
        header = _csv_header(next(reader, []), name)
        for number, fields in enumerate((fields for fields in reader if fields), start=1):
            _refuse_more_rows(number - 1, name)
            if len(fields) == len(header):
                rows.append(RawRow(number, dict(zip(header, fields, strict=True))))
            else:
                reason = f"{len(fields)} fields where the header has {len(header)}"
                bad.append(BadRow(file=name, row=number, reason=reason))
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: not CSV: {error}.") from error
    return RawRows(name, rows, bad)


def _csv_header(header: list[str], name: str) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{name}:1: the header has {len(header):,} columns; at most {MAX_COLUMNS:,} are read.")
    repeated = sorted(column for column, count in Counter(header).items() if count > 1)
    if not header or any(not column.strip() for column in header) or repeated:
        problem = f"repeats {listed(repeated)}" if repeated and "".join(repeated).strip() else "lacks a name"
        raise DataError(f"{name}:1: the header {problem if header else 'is missing'}. Name every column once.")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(f"{name}:1: the header has one column, {quoted(header[0])}. Separate columns by commas.")
    return header


def _read_parquet(path: Path, name: str) -> RawRows:
    import pyarrow as pa
    from pyarrow import parquet

    rows: list[RawRow] = []
    unpacked = 0
    try:
        # Texts stay in a dictionary until it is known what they come to.
        texts = [field.name for field in parquet.read_schema(path) if pa.types.is_string(field.type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            if file.metadata.num_columns > MAX_COLUMNS:
                raise DataError(f"{name}: {file.metadata.num_columns:,} columns; at most {MAX_COLUMNS:,} are read.")
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                unpacked += sum(map(_unpacked_bytes, batch.columns))
                _refuse_more_bytes(unpacked, name)
                start = len(rows) + 1
                _refuse_more_rows(start - 2 + batch.num_rows, name)
                rows.extend(RawRow(number, values) for number, values in enumerate(batch.to_pylist(), start))
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise DataError(f"{name}: not a Parquet file that can be read: {_first_line(error)}.") from error
    return RawRows(name, rows, [])


def _unpacked_bytes(column: "Array") -> int:
    """What an Arrow column comes to once every row has its own copy of what a dictionary holds once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(lengths).as_py() or 0)


def _refuse_more_rows(count: int, name: str) -> None:
    if count >= MAX_ROWS:
        raise DataError(f"{name}: more than {MAX_ROWS:,} rows, which are all held in memory. Give fewer.")


def _refuse_more_bytes(count: int, name: str) -> None:
    if count > MAX_FILE_BYTES:
        raise DataError(
            f"{name}: more than {MAX_FILE_BYTES // 2**20:,} MiB, which are all held in memory. Give fewer rows."
        )


READERS: Mapping[str, Reader] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _text_lines(path: Path, name: str) -> Iterator[tuple[int, str | ValueError]]:
    """Lines with their numbers; a line that is too long or not UTF-8 comes as the reason why."""
    with path.open("rb") as stream:
        _refuse_utf16(stream.read(2), name)
        stream.seek(0)
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                yield number, ValueError(f"longer than {MAX_LINE_BYTES} bytes")
                continue
            try:
                yield number, (line.removeprefix(UTF8_MARK) if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                yield number, ValueError(f"not UTF-8 at byte {error.start + 1} of the line")


def _decoded_lines(path: Path, name: str) -> Iterator[str]:
    for number, line in _text_lines(path, name):
        if isinstance(line, ValueError):
            raise DataError(f"{name}:{number}: {line}. Save the file as UTF-8 CSV.")
        yield line


def _refuse_utf16(start: bytes, name: str) -> None:
    if start.startswith(UTF16_MARKS):
        raise DataError(f"{name}: the file is UTF-16. Save it as UTF-8.")


def _parse_json(text: str) -> object:
    try:
        return parse_json(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"not JSON: {error.msg} at {place}") from error
    except ValueError as error:
        raise ValueError(f"not JSON that can be read: {_first_line(error)}") from error


def _refuse_constant(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON value")


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{quoted(value)} where an object such as {{...}} is needed")  # noqa: TRY004
    return value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    first = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in "".join(lines[:1])
    )
    return first.rstrip(".") or type(error).__name__
