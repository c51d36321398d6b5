import json
from pathlib import Path

import pandas as pd
import pytest

from sweep.data.load import file_sha256, read_file
from sweep.errors import DataError

ROWS = [{"prompt": 'a, "b"\nc', "completion": "ä"}, {"prompt": "d", "completion": "🙂"}]


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS), "utf-8")


def write_wrapped(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "data": ROWS}), "utf-8")


def write_csv(path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(path, index=False)


def write_marked_csv(path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(path, index=False, encoding="utf-8-sig")


def write_parquet(path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(path)


WRITERS = {
    "d.jsonl": write_jsonl,
    "d.ndjson": write_jsonl,
    "D.JSONL": write_jsonl,
    "d.json": write_json,
    "wrapped.json": write_wrapped,
    "d.csv": write_csv,
    "marked.csv": write_marked_csv,
    "d.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)

    raw = read_file(tmp_path / name, name=name)

    assert [dict(row.fields) for row in raw.rows] == ROWS
    assert [row.number for row in raw.rows] == [1, 2]
    assert raw.bad == []


def test_a_byte_order_mark_belongs_to_no_column(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "a"}\n')

    assert read_file(path, name="d").rows[0].fields == {"text": "a"}


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('\n{"text": "a"}\r\n\nnone\n{"text": "b"}', "utf-8")

    raw = read_file(path, name="d")

    assert [row.number for row in raw.rows] == [2, 5]
    assert [bad.row for bad in raw.bad] == [4]
    assert raw.total == 3


def test_reading_goes_on_after_an_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"x" * (40 * 2**20) + b'\n{"text": "a"}\n')

    raw = read_file(path, name="d")

    assert [bad.row for bad in raw.bad] == [1]
    assert [row.number for row in raw.rows] == [2]


def test_a_directory_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()

    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path / "d.jsonl", name="d")
    with pytest.raises(DataError, match="cannot be read"):
        file_sha256(tmp_path / "d.jsonl", name="d")
