from pathlib import Path

import datasets
import pytest

from sweep import cli
from sweep.data.check import check_files
from sweep.data.source import FileSource, HubSource, find_sources
from sweep.errors import DataError
from sweep.spec import DataSpec


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """A Hub with one data set; it notes what it was asked for."""
    asked: list[tuple[object, ...]] = []
    rows = [{"question": f"{number}?", "answer": number % 2} for number in range(60)]
    features = datasets.Features(
        {"question": datasets.Value("string"), "answer": datasets.ClassLabel(names=["a", "b"])}
    )

    def load_dataset(name: str, config: str | None, *, split: str, revision: str | None) -> datasets.Dataset:
        asked.append((name, config, split, revision))
        if split not in {"train", "dev"}:
            message = f'Unknown split "{split}". Should be one of train, dev.\nand more'
            raise ValueError(message)
        return datasets.Dataset.from_list(rows if split == "train" else rows[:5], features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


COLUMNS = {"prompt": "question", "completion": "answer"}


def test_a_name_that_is_no_file_is_looked_for_on_the_hub(hub, tmp_path: Path) -> None:
    spec = DataSpec(train="org/set", hub_config="main", hub_revision="abc", columns=COLUMNS, validation="dev")

    assert check_files(spec, tmp_path) == []
    assert hub == [("org/set", "main", "train", "abc"), ("org/set", "main", "dev", "abc")]


@pytest.mark.usefixtures("hub")
def test_a_missing_split_of_a_hub_set_is_told_in_one_line(tmp_path: Path) -> None:
    spec = DataSpec(train="org/set", columns=COLUMNS, test="tset")

    (complaint,) = check_files(spec, tmp_path)

    assert complaint.endswith("split 'tset' that can be loaded: Unknown split \"tset\". Should be one of train, dev.")


@pytest.mark.usefixtures("hub")
def test_equal_rows_of_the_hub_have_one_fingerprint() -> None:
    train, again, other = (HubSource("org/set", None, None, split) for split in ("train", "train", "dev"))

    assert train.sha256() == again.sha256() != other.sha256()


def test_a_folder_of_the_same_name_does_not_stand_in_for_the_hub(hub, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "org" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    (complaint,) = check_files(DataSpec(train="org/set", columns=COLUMNS), tmp_path / "elsewhere")

    assert "hides the Hub's data set" in complaint
    assert hub == []


def test_the_hub_out_of_reach_is_told_in_one_line(tmp_path: Path) -> None:
    (complaint,) = check_files(DataSpec(train="nobody/nothing"), tmp_path)

    assert complaint.startswith("nobody/nothing: neither a data file beside the study nor a Hub data set")
    assert "\n" not in complaint


@pytest.mark.parametrize("name", ["tickets.jsonl", "./tickets", "a/b/c", "/nowhere/tickets", "~/tickets.csv", ""])
def test_what_looks_like_a_file_never_goes_to_the_hub(name: str, hub, tmp_path: Path) -> None:
    (complaint,) = check_files(DataSpec(train=name), tmp_path)

    assert complaint.endswith(".")
    assert hub == []


def test_held_out_names_are_files_where_training_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a"}', "utf-8")

    (complaint,) = check_files(DataSpec(train="d.jsonl", test="dev"), tmp_path)

    assert complaint.startswith("dev: no such data file at")


def test_a_held_out_file_may_stand_beside_a_hub_set(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("prompt,completion\n", "utf-8")

    sources = find_sources(DataSpec(train="org/set", test="mine.csv", validation="dev"), data_root=tmp_path)

    assert sources == {
        "train": HubSource("org/set", None, None, "train"),
        "validation": HubSource("org/set", None, None, "dev"),
        "test": FileSource("mine.csv", tmp_path / "mine.csv"),
    }


@pytest.mark.parametrize(
    "name", ["../rows.jsonl", "/etc/rows.jsonl", "out/rows.jsonl", "rows\0.jsonl", "a/../../rows.jsonl"]
)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_file_outside_the_studys_directory_is_not_read(tmp_path, name, split) -> None:
    root = tmp_path / "study"
    root.mkdir()
    for place in (root, tmp_path):
        (place / "rows.jsonl").write_text('{"text": "a"}\n')
    (root / "out").symlink_to(tmp_path)

    with pytest.raises(DataError, match="lies outside the directory of the study's data"):
        find_sources(DataSpec.model_validate({"train": "rows.jsonl", split: name}), data_root=root)


def test_a_directory_that_is_named_on_the_command_line_is_where_data_lie(tmp_path, capsys) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "big").mkdir()
    rows = [f'{{"prompt": "{number} + 1 =", "completion": " {number + 1}"}}\n' for number in range(80)]
    (tmp_path / "big" / "rows.jsonl").write_text("".join(rows))
    study = tmp_path / "study" / "study.yaml"
    study.write_text("name: s\nmodel: {model_name_or_path: a/b}\ndata: {train: rows.jsonl}\nmethods: [lora]\n")

    assert cli.main(["check", str(study)]) == 2
    assert "no file 'rows.jsonl'" in capsys.readouterr().err
    assert cli.main(["check", str(study), "--data", str(tmp_path / "big")]) == 0
