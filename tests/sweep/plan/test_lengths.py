"""Lengths of prepared rows against the rows themselves, tokenized one by one."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from evals.errors import ModelError
from evals.spec import ModelSpec
from sweep.data.encode import EncodedRow
from sweep.data.for_model import prepare_for
from sweep.data.prepared import Manifest, PreparedData, write_prepared
from sweep.errors import DataError
from sweep.plan.lengths import row_lengths
from sweep.shape import RowLengths
from sweep.spec import DataSpec

ROWS = [{"prompt": f"Question {number}?", "completion": "word " * (number % 7 + 1)} for number in range(40)]


@pytest.fixture
def prepared(tmp_path: Path, tiny_model: Path) -> PreparedData:
    return prepare_here(tmp_path, tiny_model, ROWS)


def prepare_here(here: Path, model: Path, rows: list[dict[str, str]], *, max_length: int = 256) -> PreparedData:
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return prepare_for(
        ModelSpec(model_name_or_path=str(model)),
        DataSpec(train="rows.jsonl", max_bad_rows=0.5),
        data_root=here,
        max_length=max_length,
        directory=here / "plan",
        seed=0,
        cache=here / "cache",
        hub=None,
    )


def test_each_split_is_as_long_as_its_rows(prepared: PreparedData, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    found = row_lengths(prepared)

    assert sum(lengths.rows for lengths in found.values()) == len(ROWS)
    for split in ("train", "validation", "test"):
        lines = map(json.loads, prepared.own(split).rows.read_text("utf-8").splitlines())
        # Whitespace at the end of a prompt is learned with the completion.
        pairs = [(row["prompt"].rstrip(), row["prompt"] + row["completion"]) for row in lines]
        prompts, wholes = ([len(tokenizer(text)["input_ids"]) for text in texts] for texts in zip(*pairs, strict=True))
        learned = [whole - prompt for prompt, whole in zip(prompts, wholes, strict=True)]
        assert found[split] == RowLengths(len(wholes), sum(wholes), max(wholes), sum(learned), max(learned))


def test_training_reads_the_same_tokens(prepared: PreparedData) -> None:
    found = row_lengths(prepared)["train"]
    rows = list(prepared.dataset("train"))

    assert found.tokens == sum(len(row["input_ids"]) for row in rows)
    assert found.learned == sum(sum(row["completion_mask"]) for row in rows)
    assert found.mean == pytest.approx(found.tokens / len(rows))


def test_rows_that_are_left_out_are_not_counted(tmp_path: Path, tiny_model: Path) -> None:
    long = {"prompt": "A long one", "completion": "x" * 500}
    found = row_lengths(prepare_here(tmp_path, tiny_model, [*ROWS, long]))

    assert sum(lengths.rows for lengths in found.values()) == len(ROWS)
    assert max(lengths.longest for lengths in found.values()) <= 256


def test_rows_are_prepared_once(prepared: PreparedData, tmp_path: Path, tiny_model: Path) -> None:
    written = (prepared.directory / "prepared.json").stat().st_mtime_ns

    assert prepare_here(tmp_path, tiny_model, ROWS).directory == prepared.directory
    assert (prepared.directory / "prepared.json").stat().st_mtime_ns == written


def test_a_split_without_rows_has_no_length(tmp_path: Path) -> None:
    manifest = Manifest(
        rows={}, sha256={}, dropped=(), leaks={}, answer="text", labels=(), constant_answers=(), stop=(),
        max_new_tokens=16,
    )  # fmt: skip
    empty: Mapping[str, list[EncodedRow]] = {"train": [], "validation": [], "test": []}
    found = row_lengths(write_prepared(tmp_path / "rows", manifest, empty))

    assert set(found.values()) == {RowLengths(rows=0, tokens=0, longest=0, learned=0, longest_learned=0)}
    assert found["train"].mean == 0


def test_what_cannot_be_read_is_said(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError):
        prepare_here(tmp_path, tiny_model, [{"question": "no such column"}])
    with pytest.raises(ModelError):
        prepare_here(tmp_path, tmp_path / "no-model", ROWS)
