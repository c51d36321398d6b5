import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from evals.spec import ModelSpec, OwnRow
from sweep.data.for_model import prepare_for
from sweep.data.prepare import PreparedData, prepare, read_prepared
from sweep.errors import DataError
from sweep.spec import DataSpec


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def questions(count: int, *, start: int = 0) -> list[dict[str, object]]:
    return [
        {"prompt": f"Question {number}?", "completion": f"Answer {number}."} for number in range(start, start + count)
    ]


def own_rows(prepared: PreparedData, split: str) -> list[OwnRow]:
    return [OwnRow.model_validate_json(line) for line in prepared.own(split).rows.read_text("utf-8").splitlines()]


@pytest.fixture
def prepare_here(tmp_path: Path, tiny_tokenizer):
    """Prepare rows written to train.jsonl, with further data settings."""

    def run(rows: list[dict[str, object]] | None = None, *, max_length: int = 256, seed: int = 0, **settings: object):
        if rows is not None:
            write_rows(tmp_path / "train.jsonl", rows)
        spec = DataSpec.model_validate({"train": "train.jsonl", **settings})
        return prepare(
            spec, tiny_tokenizer, data_root=tmp_path, max_length=max_length, directory=tmp_path / "out", seed=seed
        )

    return run


def test_every_row_lands_in_one_split_with_its_line_number(prepare_here) -> None:
    prepared = prepare_here(questions(200))

    numbers = [row.row for split in ("train", "validation", "test") for row in own_rows(prepared, split)]
    assert sorted(numbers) == list(range(1, 201))
    assert sum(prepared.rows.values()) == 200
    assert 8 <= prepared.rows["test"] <= 35


def test_adding_rows_moves_none_between_splits(prepare_here) -> None:
    before = prepare_here(questions(100))
    after = prepare_here([*questions(100, start=100), *questions(100)])

    for split in ("train", "validation", "test"):
        assert {row.answer for row in own_rows(before, split)} <= {row.answer for row in own_rows(after, split)}


def test_another_seed_divides_differently(prepare_here) -> None:
    rows = questions(100)

    assert prepare_here(rows).sha256["test"] != prepare_here(rows, seed=1).sha256["test"]


def test_equal_rows_share_a_split(prepare_here) -> None:
    prepared = prepare_here(questions(100) * 3)

    for split in ("train", "validation", "test"):
        assert set(Counter(row.answer for row in own_rows(prepared, split)).values()) == {3}
    assert prepared.leaks == {"validation": 0, "test": 0}


def test_rows_of_one_group_share_a_split_and_carry_its_name(prepare_here) -> None:
    rows = [{**row, "customer": number % 50} for number, row in enumerate(questions(200))]

    prepared = prepare_here(rows, group="customer")

    groups = [{row.group for row in own_rows(prepared, split)} for split in ("train", "validation", "test")]
    assert sum(len(found) for found in groups) == len(set.union(*groups)) == 50


def test_explicit_files_are_taken_as_they_are_and_shared_rows_are_counted(prepare_here, tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", questions(10, start=95))
    write_rows(tmp_path / "validation.jsonl", questions(4, start=100))

    prepared = prepare_here(questions(100), test="test.jsonl", validation="validation.jsonl")

    assert prepared.rows == {"train": 100, "validation": 4, "test": 10}
    # Of the ten, five were trained on and four more were selected on.
    assert prepared.leaks == {"validation": 0, "test": 9}


def test_long_rows_are_left_out_and_reported_instead_of_cut(prepare_here) -> None:
    rows = questions(100)
    rows[41] = {"prompt": "Long?", "completion": "word " * 100}

    prepared = prepare_here(rows, max_bad_rows=1)

    (bad,) = prepared.dropped
    assert (bad.file, bad.row) == ("train.jsonl", 42)
    assert "tokens, where training.max_length is 256" in bad.reason
    assert sum(prepared.rows.values()) == 99
    longest = max(len(ids) for ids in prepared.dataset("train")["input_ids"])
    assert longest <= 256


def test_rows_longer_than_the_model_can_read_are_left_out_whatever_the_study_allows(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Of a model that learned its positions, the next one cannot even be looked up."""
    config = json.loads((tiny_model / "config.json").read_text())
    shutil.copytree(tiny_model, tmp_path / "short")
    (tmp_path / "short" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 80}))
    write_rows(tmp_path / "train.jsonl", [*questions(60), {"prompt": "Long?", "completion": "word " * 20}])

    def of(model: Path, max_length: int, max_bad_rows: int = 1) -> PreparedData:
        return prepare_for(
            ModelSpec(model_name_or_path=str(model)),
            DataSpec(train="train.jsonl", max_bad_rows=max_bad_rows),
            data_root=tmp_path,
            max_length=max_length,
            directory=tmp_path / "out",
            seed=0,
            cache=tmp_path,
            hub=None,
        )

    (bad,) = of(tmp_path / "short", 256).dropped
    assert bad.row == 61
    assert bad.reason.endswith("tokens, where the model reads 80")
    assert of(tiny_model, 256).dropped == ()
    (other,) = of(tmp_path / "short", 79).dropped
    assert other.reason.endswith("tokens, where training.max_length is 79")

    (tmp_path / "short" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4}))
    with pytest.raises(DataError, match=r"no row fits\. Mend the rows\.$"):
        of(tmp_path / "short", 256, 61)
    with pytest.raises(DataError, match=r"no row fits\. Mend the rows or raise training\.max_length\.$"):
        of(tiny_model, 4, 61)


def test_too_many_long_rows_end_the_study(prepare_here) -> None:
    with pytest.raises(DataError, match=r"100 of 100 rows do not fit.*or training\.max_length\."):
        prepare_here(questions(100), max_length=20)


def test_only_the_first_rows_that_fit_are_used(prepare_here) -> None:
    rows = [{"prompt": "x", "completion": ""}, *questions(100)]

    prepared = prepare_here(rows, max_rows=60, max_bad_rows=1)

    numbers = {row.row for split in ("train", "validation", "test") for row in own_rows(prepared, split)}
    assert numbers == set(range(2, 62))


def test_the_second_call_reads_what_the_first_wrote(prepare_here) -> None:
    first = prepare_here(questions(100))
    manifest = (first.directory / "prepared.json").stat()

    second = prepare_here(questions(100))

    assert second == first == read_prepared(first.directory)
    assert (first.directory / "prepared.json").stat().st_mtime_ns == manifest.st_mtime_ns


@pytest.mark.parametrize(
    "change", [{"max_length": 300}, {"seed": 5}, {"max_rows": 90}, {"rows": questions(101)}, {"answer": "text"}]
)
def test_anything_that_decides_the_rows_changes_the_key(change: dict[str, object], prepare_here) -> None:
    first = prepare_here(questions(100))

    assert prepare_here(**change).directory != first.directory


def test_another_chat_template_changes_the_key_and_tokenizing_does_not(prepare_here, tiny_tokenizer) -> None:
    first = prepare_here(questions(100))
    tiny_tokenizer(["a", "bc"], padding=True, truncation=True, max_length=1)

    assert prepare_here().directory == first.directory
    tiny_tokenizer.chat_template = tiny_tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>")
    assert prepare_here().directory != first.directory


def test_a_half_written_directory_is_written_again(prepare_here) -> None:
    first = prepare_here(questions(100))
    expected = own_rows(first, "test")
    (first.directory / "prepared.json").unlink()
    (first.directory / "test.jsonl").write_text("half", "utf-8")

    with pytest.raises(DataError, match="holds no prepared data"):
        read_prepared(first.directory)
    again = prepare_here(questions(100))

    assert again.directory == first.directory
    assert own_rows(again, "test") == expected
    assert [path.name for path in first.directory.parent.iterdir()] == [first.directory.name]


def test_the_fingerprint_follows_the_content_and_not_the_template(prepare_here) -> None:
    rendered, plain = prepare_here(questions(100)), prepare_here(questions(100), apply_chat_template=False)

    assert rendered.sha256 == plain.sha256
    assert rendered.sha256 != prepare_here(questions(99)).sha256
    assert len(set(rendered.sha256.values())) == 3


def test_the_longest_answer_is_seen_in_training_rows_alone(prepare_here, tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [{"prompt": "x", "completion": "a very long answer indeed " * 4}])

    prepared = prepare_here(questions(50), test="test.jsonl", validation=0.2)

    # One token per byte: a line break, "Answer NN." and the end-of-turn marker with its line break.
    assert prepared.own("test").max_new_tokens == 2 * (1 + len("Answer 49.") + 2)


def test_labels_are_listed_and_the_most_frequent_answers_come_first(prepare_here) -> None:
    rows = [{"prompt": f"Mail {number}", "completion": "spam" if number % 3 else "ham"} for number in range(90)]

    own = prepare_here(rows).own("validation")

    assert own.answer == "label"
    assert own.labels == ("ham", "spam")
    assert own.constant_answers == ("spam", "ham")
    assert own.stop == ("<|im_end|>",)


def test_trl_takes_the_rows_as_they_are(prepare_here) -> None:
    dataset = prepare_here(questions(100)).dataset("train")

    assert dataset.column_names == ["input_ids", "completion_mask"]
    # A Dataset with cache files writes more of them beside the rows, from every worker at once.
    assert dataset.cache_files == []
    assert isinstance(dataset[0]["input_ids"], list)


def test_two_files_of_one_name_are_never_confused(tmp_path: Path, tiny_tokenizer) -> None:
    prepared = []
    for number, root in enumerate((tmp_path / "a" / "x", tmp_path / "b" / "x")):
        root.mkdir(parents=True)
        write_rows(root / "train.jsonl", questions(60, start=1000 * number))
        spec = DataSpec(train="train.jsonl")
        prepared.append(
            prepare(spec, tiny_tokenizer, data_root=root, max_length=99, directory=tmp_path / "out", seed=0)
        )

    first, second = ({row.answer for row in own_rows(found, "train")} for found in prepared)
    assert not first & second


SHARED_STUDIES = {
    "json": ("restaurant8k_json", {"prompt": "text", "completion": "output"}, "json"),
    "sql": ("wikisql", {"instruction": "question", "input": "context", "output": "answer"}, "text"),
    "labels by name": ("banking77", {"prompt": "text", "completion": "label_text"}, "text"),
    "instructions": ("instruct_rasbt", {}, "text"),
    "long instructions": ("dolly", {"input": "context", "output": "response"}, "text"),
    "stories": ("tinystories", {}, "none"),
}


@pytest.mark.shared
@pytest.mark.parametrize("study", SHARED_STUDIES)
def test_real_data_are_prepared_as_a_new_user_would_name_them(
    study: str, shared_data: Path, tiny_tokenizer, tmp_path: Path
) -> None:
    folder, columns, answer = SHARED_STUDIES[study]
    spec = DataSpec(train=f"{folder}/train.jsonl", test=f"{folder}/test.jsonl", columns=columns, max_bad_rows=0.1)

    prepared = prepare(spec, tiny_tokenizer, data_root=shared_data, max_length=4096, directory=tmp_path / "out", seed=0)

    assert all(prepared.rows[split] > 0 for split in ("train", "validation", "test"))
    assert prepared.own("test").answer == answer
