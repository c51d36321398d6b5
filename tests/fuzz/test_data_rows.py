"""No row, file or answer of a model, however wrong, gets anything but a reason."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hostile_values import TEXTS, VALUES, mutated, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from evals.spec import OwnRow
from evals.tasks.json_answers import find_json, grade_json
from sweep.data.check import check_files
from sweep.spec import DataSpec

ROWS = (
    {"prompt": "1 + 1 =", "completion": " 2", "group": "a"},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    {"instruction": "Add", "input": "1", "output": "2"},
    {"text": "plain"},
    {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]},
    {"prompt": "json", "completion": {"a": [1, 2.5, None]}},
)


def check_file(path: Path, content: bytes, **settings_of_data: object) -> None:
    """Check a data file as `sweep check` does: a list of complaints, whatever is in it."""
    path.write_bytes(content)
    for complaint in check_files(DataSpec(train=path.name, **settings_of_data), path.parent):
        assert complaint
        assert len(complaint) < 5_000
        assert complaint.isprintable(), complaint


@pytest.mark.parametrize("row", ROWS, ids="+".join)
def test_jsonl_with_anything_in_its_rows(effort: settings, tmp_path: Path, row: dict[str, object]) -> None:
    @effort
    @given(st.lists(mutated(row), min_size=1, max_size=4), st.sampled_from([0.0, 0.5]))
    def check(rows: list[object], allowed: float) -> None:
        lines = [json.dumps(row)] * 8 + [written(one).replace("\n", " ") for one in rows]
        check_file(tmp_path / "rows.jsonl", "\n".join(lines).encode("utf-8", "surrogatepass"), max_bad_rows=allowed)

    check()


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_any_bytes_under_any_name(effort: settings, tmp_path: Path, suffix: str) -> None:
    @effort
    @given(st.binary(max_size=300) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
    def check(content: bytes) -> None:
        check_file(tmp_path / f"rows{suffix}", content)

    check()


def test_csv_with_any_cells(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(st.lists(st.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=5), st.booleans())
    def check(cells: list[list[str]], named: bool) -> None:
        sink = io.StringIO()
        try:
            csv.writer(sink).writerows([["prompt", "completion"], *cells] if named else cells)
        except csv.Error:
            return
        check_file(tmp_path / "rows.csv", sink.getvalue().encode("utf-8", "surrogatepass"))

    check()


def test_parquet_with_any_values_and_any_damage(effort: settings, tmp_path: Path) -> None:
    cells = st.one_of(st.none(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2))

    @effort
    @given(st.lists(cells, min_size=1, max_size=4), st.integers(0, 2000), st.integers(0, 255), st.booleans())
    def check(values: list[object], place: int, byte: int, damaged: bool) -> None:
        sink = pa.BufferOutputStream()
        try:
            parquet.write_table(pa.table({"prompt": ["1"] * len(values), "completion": values}), sink)
        except (pa.ArrowException, TypeError):
            return
        content = bytearray(sink.getvalue().to_pybytes())
        if damaged:
            content[place % len(content)] = byte
        check_file(tmp_path / "rows.parquet", bytes(content))

    check()


def test_any_settings_of_columns(effort: settings, tmp_path: Path) -> None:
    line = json.dumps({"prompt": "1", "completion": "2", "extra": [1]}) + "\n"

    @effort
    @given(
        st.dictionaries(st.sampled_from(["prompt", "completion", "system", "x"]) | TEXTS, TEXTS, max_size=2),
        TEXTS | st.none(),
    )
    def check(columns: dict[str, str], group: str | None) -> None:
        check_file(tmp_path / "rows.jsonl", (line * 9).encode(), columns=columns, group=group)

    check()


@pytest.mark.parametrize(
    "grade", [find_json, lambda text: grade_json('{"a": 1}', text, ("a",)), lambda text: grade_json(text, text)]
)
def test_any_answer_of_a_model_is_graded_as_json(effort: settings, grade: Callable[[str], object]) -> None:
    pieces = st.sampled_from(
        ['{"a": ', "[", "]", "}", "```json\n", "```", "1e999", "9" * 5000, ", ", '"', "NaN", '{"a": 1}']
    )

    @effort
    @given(st.lists(pieces | TEXTS, max_size=8).map("".join) | VALUES.map(written))
    def check(text: str) -> None:
        grade(text)

    check()


def test_any_own_row_is_a_row_or_none(effort: settings) -> None:
    good = {"row": 1, "prompt": "p", "completion": "c", "answer": "a", "group": None}

    @effort
    @given(mutated(good))
    def check(value: object) -> None:
        try:
            OwnRow.model_validate_json(written(value))
        except ValueError:
            return

    check()
