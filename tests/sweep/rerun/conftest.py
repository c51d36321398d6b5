"""A recorded run to run trials of again."""

import shutil
from pathlib import Path

import pytest
from rerun_place import Place, record_run

from sweep.store import read_config


@pytest.fixture(scope="session")
def recorded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that tests copy."""
    root = tmp_path_factory.mktemp("recorded")
    record_run(root, tiny_model)
    return root


@pytest.fixture
def place(recorded: Path, tmp_path: Path) -> Place:
    """A copy of one's own."""
    shutil.copytree(recorded, tmp_path / "here")
    copy = Place(tmp_path / "here")
    for path in copy.run.path.rglob("config.yaml"):
        config = read_config(path).model_copy(update={"data_root": copy.root})
        path.write_text(path.read_text().replace(str(recorded), str(copy.root)))
        assert read_config(path) == config
    for path in copy.run.path.rglob("record.json"):
        path.write_text(path.read_text().replace(str(recorded), str(copy.root)))
    return copy
