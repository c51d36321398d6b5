"""Read the user's files line by line, so that what cannot be read has a line number.

Files are taken as hostile: lines are bounded, encodings checked, and a broken line becomes a BadRow instead of ending
the study. Only what makes the whole file unreadable raises DataError. The `datasets` library reads Hub data sets
alone: for local files its cache would give the rows of another file of the same name.
"""

import csv
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sweep.data.rows import BadRow, RawRow, RawRows, listed, quoted
from sweep.errors import DataError

MAX_LINE_BYTES = 16 * 2**20
MAX_JSON_BYTES = 2**30
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"

Reader = Callable[[Path, str], RawRows]


def read_file(path: Path, *, name: str) -> RawRows:
    """Read every row of a file by its suffix. Raises DataError where the file as a whole cannot be read."""
    try:
        return READERS[path.suffix.lower()](path, name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}.") from error


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
        try:
            if isinstance(line, ValueError):
                raise line
            rows.append(RawRow(number, _object(_parse_json(line))))
        except ValueError as error:
            bad.append(BadRow(file=name, row=number, reason=str(error)))
    return RawRows(name, rows, bad)


def _read_json(path: Path, name: str) -> RawRows:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{name}: a JSON file of more than {MAX_JSON_BYTES} bytes. Use JSONL, one object a line.")
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
            if len(fields) == len(header):
                rows.append(RawRow(number, dict(zip(header, fields, strict=True))))
            else:
                reason = f"{len(fields)} fields where the header has {len(header)}"
                bad.append(BadRow(file=name, row=number, reason=reason))
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: not CSV: {error}.") from error
    return RawRows(name, rows, bad)


def _csv_header(header: list[str], name: str) -> list[str]:
    repeated = sorted({column for column in header if header.count(column) > 1})
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
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                start = len(rows) + 1
                rows.extend(RawRow(number, values) for number, values in enumerate(batch.to_pylist(), start))
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise DataError(f"{name}: not a Parquet file that can be read: {_first_line(error)}.") from error
    return RawRows(name, rows, [])


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
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deeply") from error
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
    return lines[0].rstrip(".") if lines else type(error).__name__
