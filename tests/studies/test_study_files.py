"""Every study file in the repository loads, and says what it asks, what it costs and how to run it."""

import shutil
from pathlib import Path

import pytest

import studies
from sweep.study_file import reader

FOLDER = Path(studies.__file__).parent
FILES = sorted(FOLDER.rglob("*.yaml"))
PLACEHOLDER = "my_data.jsonl"


@pytest.fixture
def copy_beside_data(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A study as a user has it: beside its data, a toy file where it names a placeholder."""
    path: Path = request.param
    for data in FOLDER.glob("*.jsonl"):
        shutil.copy(data, tmp_path)
    (tmp_path / PLACEHOLDER).write_text('{"prompt": "1 + 1 = ", "completion": "2"}\n')
    return Path(shutil.copy(path, tmp_path))


def test_the_walk_finds_the_bundled_studies() -> None:
    assert set(studies.bundled().values()) == set(FILES)
    assert len(FILES) >= 7


@pytest.mark.parametrize("copy_beside_data", FILES, ids=lambda path: path.stem, indirect=True)
def test_a_bundled_study_loads_beside_its_data(copy_beside_data: Path) -> None:
    spec = reader.load(copy_beside_data)

    assert spec.methods


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_study_is_named_after_its_file(path: Path) -> None:
    assert reader.load(path, check_files=False).name == path.stem.replace("_", "-")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_study_begins_with_its_question_cost_and_command(path: Path) -> None:
    head = path.read_text("utf-8").split("\nname:")[0]

    assert studies.question(path).endswith("?")
    assert "# Cost" in head
    assert "sweep run" in head


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_that_runs_generated_programs_warns_in_its_head(path: Path) -> None:
    spec = reader.load(path, check_files=False)
    head = path.read_text("utf-8").split("\nname:")[0]

    assert spec.evaluation.scoring.allow_unsafe_code == ("unprotected" in head)


def test_the_question_skips_empty_comments_and_may_be_missing(tmp_path: Path) -> None:
    asked, silent = tmp_path / "asked.yaml", tmp_path / "silent.yaml"
    asked.write_text("#\n# Which one?\n# Another line.\nname: x\n")
    silent.write_text("name: x\n")

    assert studies.question(asked) == "Which one?"
    assert studies.question(silent) == ""
