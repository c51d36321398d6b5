import json
import time
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sweep.data import load
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


def test_rows_are_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(load, "MAX_ROWS", 10)
    for name, row, content in (
        ("rows.jsonl", '{"a": 1}\n', '{"a": 1}\n' * 11),
        ("rows.json", '{"a": 1}, ', json.dumps([{"a": 1}] * 11)),
        ("rows.csv", "1\n", "a\n" + "1\n" * 11),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="more than 10 rows, which are all held in memory"):
            read_file(tmp_path / name, name=name)
        (tmp_path / name).write_text(content.replace(row, "", 1))
        assert len(read_file(tmp_path / name, name=name).rows) == 10


def test_a_file_is_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(load, "MAX_FILE_BYTES", 2**20)
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' * 2**17)

    with pytest.raises(DataError, match="more than 1 MiB"):
        read_file(tmp_path / "rows.jsonl", name="rows.jsonl")


def test_parquet_is_bounded_by_what_it_unpacks_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(load, "MAX_FILE_BYTES", 2**24)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["a" * 2**20]))
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"text": texts}), path, compression="zstd")
    assert path.stat().st_size < 2**20

    tracemalloc.start()
    with pytest.raises(DataError, match="more than 16 MiB"):
        read_file(path, name="rows.parquet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25


def test_a_header_of_many_columns_is_refused_at_once(tmp_path) -> None:
    (tmp_path / "rows.csv").write_text("a," * 500_000 + "a\n1\n")

    began = time.monotonic()
    with pytest.raises(DataError, match="500,001 columns"):
        read_file(tmp_path / "rows.csv", name="rows.csv")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("depth", [200, 900, 5_000, 1_000_000])
def test_a_row_that_is_a_pit_is_a_bad_row(tmp_path, depth) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": ' + "[" * depth + "]" * depth + "}\n")

    read = read_file(tmp_path / "rows.jsonl", name="rows.jsonl")

    assert [row.number for row in read.rows] == [1]
    assert [str(row) for row in read.bad] == ["rows.jsonl:2: not JSON that can be read: nested too deeply"]
