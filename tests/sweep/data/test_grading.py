"""What answers are graded with: read once, kept beside the rows, and part of what a study is."""

import json
from pathlib import Path

import pytest

from evals.spec import OwnRow
from evals.tasks.aggregate import AGGREGATIONS
from evals.tasks.user_grader import UserGrader
from sweep.data.check import check_files
from sweep.data.prepare import PreparedData, prepare
from sweep.errors import DataError
from sweep.spec import DataSpec

TABLE = "CREATE TABLE t (a INTEGER, b TEXT);"


@pytest.fixture
def prepare_here(tmp_path: Path, tiny_tokenizer):
    """Prepare SQL rows, the third of which brings no schema that runs if asked so."""

    def run(*, schema: str = TABLE, **settings: object) -> PreparedData:
        rows = [
            {
                "prompt": f"Give {number}.",
                "completion": f"VALUES ({number})",
                "made": TABLE,
            }
            for number in range(60)
        ]
        rows[2]["made"] = schema
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = DataSpec.model_validate({"train": "train.jsonl", "max_bad_rows": 1, **settings})
        return prepare(spec, tiny_tokenizer, data_root=tmp_path, max_length=256, directory=tmp_path / "out", seed=0)

    return run


def rows_of(prepared: PreparedData) -> list[OwnRow]:
    splits = ("train", "validation", "test")
    lines = [line for split in splits for line in prepared.own(split).rows.read_text().splitlines()]
    return sorted(map(OwnRow.model_validate_json, lines), key=lambda row: row.row)


def test_a_column_of_schemas_goes_with_each_row_and_makes_the_answers_sql(prepare_here) -> None:
    prepared = prepare_here(sql_schema="made")

    assert prepared.own("test").answer == "sql"
    assert {row.sql_schema for row in rows_of(prepared)} == {TABLE}
    assert {row.sql_schema for row in rows_of(prepare_here())} == {None}


@pytest.mark.parametrize("schema", ["CREATE TABL t (a)", "ATTACH 'x.db' AS y", "SELECT 1"])
def test_a_row_whose_schema_does_not_run_is_left_out_with_its_line(schema: str, prepare_here) -> None:
    (bad,) = prepare_here(sql_schema="made", schema=schema).dropped

    assert bad.row == 3
    assert "made" in bad.reason


def test_a_schema_column_that_is_not_there_is_named(prepare_here) -> None:
    with pytest.raises(DataError, match=r"no column 'mode', which data\.sql_schema names.*Did you mean 'made'\?"):
        prepare_here(sql_schema="mode")


def test_a_file_of_tables_serves_all_rows(prepare_here, tmp_path: Path) -> None:
    (tmp_path / "tables.sql").write_text(TABLE)
    prepared = prepare_here(sql_schema="tables.sql")

    assert prepared.own("test").sql_schema == TABLE
    assert {row.sql_schema for row in rows_of(prepared)} == {None}


def test_a_grader_is_copied_and_works_after_the_study_has_gone(prepare_here, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def short(prompt, answer, target): return len(answer) < 9")
    own = prepare_here(grader="mine.py:short").own("validation")
    (tmp_path / "mine.py").unlink()

    assert own.grader is not None
    row = rows_of(prepare_here())[0]
    assert UserGrader(own.grader, taken=AGGREGATIONS)(row, "SELECT 1")["short"] == 1.0


@pytest.mark.parametrize(
    ("name", "settings", "before", "after"),
    [
        ("mine.py", {"grader": "mine.py:grade"}, "def grade(p, a, t): return 0", "def grade(p, a, t): return 1"),
        ("s.json", {"json_schema": "s.json"}, '{"type": "object"}', '{"type": "array"}'),
        ("t.sql", {"sql_schema": "t.sql"}, TABLE, "CREATE TABLE t (a INTEGER);"),
    ],
)
def test_what_answers_are_graded_with_is_part_of_the_fingerprint(  # noqa: PLR0917
    name: str, settings: dict[str, str], before: str, after: str, prepare_here, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(before)
    first = prepare_here(answer="text", **settings)
    (tmp_path / name).write_text(after)
    second = prepare_here(answer="text", **settings)

    (key,) = settings
    assert first.sha256[key] != second.sha256[key]
    assert {split: first.sha256[split] for split in first.rows} == {split: second.sha256[split] for split in first.rows}
    assert first.directory != second.directory


def test_a_schema_written_in_the_study_reaches_scoring(prepare_here) -> None:
    schema = {"type": "object", "required": ["a"]}

    assert prepare_here(answer="text", json_schema=schema).own("test").json_schema == schema


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"json_schema": "none.json"}, "data.json_schema: none.json: no JSON schema"),
        ({"sql_schema": "none.sql"}, "data.sql_schema: none.sql cannot be read"),
        ({"sql_schema": "train.sql"}, "is no schema that SQLite runs"),
        ({"sql_schema": "empty.sql"}, "makes no table"),
        ({"grader": "none.py:grade"}, "data.grader: none.py cannot be read"),
    ],
)
def test_checking_names_what_cannot_be_graded_with(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 80)
    (tmp_path / "train.sql").write_text("MAKE TABLE")
    (tmp_path / "empty.sql").write_text("-- nothing")

    problems = check_files(DataSpec.model_validate({"train": "train.jsonl", **settings}), tmp_path)

    assert any(says in problem for problem in problems), problems
