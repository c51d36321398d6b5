"""Files go to a node that shares no file system and come back whole; nothing else is given or taken."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.errors import MachineError, RunError
from sweep.pool import shelf
from sweep.pool.shelf import Carrier, Entry, Shelf


class Elsewhere:
    """A shelf whose files have other paths here: two machines on one file system."""

    def __init__(self, there: Shelf, *, driver: Path, node: Path) -> None:
        self._there, self._driver, self._node = there, driver, node
        self.pieces: list[int] = []

    def inputs(self) -> Sequence[Entry]:
        return [
            replace(entry, path=self._node / entry.path.relative_to(self._driver)) for entry in self._there.inputs()
        ]

    def under(self, directory: Path) -> Sequence[Entry]:
        found = self._there.under(self._to(directory))
        return [replace(entry, path=self._node / entry.path.relative_to(self._driver)) for entry in found]

    def read(self, path: Path, offset: int) -> bytes:
        return self._there.read(self._to(path), offset)

    def write(self, path: Path, token: str, offset: int, piece: bytes) -> None:
        self.pieces.append(len(piece))
        self._there.write(self._to(path), token, offset, piece)

    def finish(self, path: Path, token: str) -> None:
        self._there.finish(self._to(path), token)

    def replace(self, directory: Path, keep: Sequence[Path]) -> None:
        self._there.replace(self._to(directory), [self._to(path) for path in keep])

    def _to(self, path: Path) -> Path:
        return self._driver / path.relative_to(self._node)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    (tmp_path / "driver" / "run" / "trial").mkdir(parents=True)
    (tmp_path / "driver" / "rows.jsonl").write_text("{}\n")
    (tmp_path / "driver" / "run" / "trial" / "config.yaml").write_text("a: 1\n")
    return tmp_path / "driver"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


@pytest.fixture
def link(driver: Path, node: Path) -> Elsewhere:
    return Elsewhere(Shelf(driver / "run", [driver / "rows.jsonl"]), driver=driver, node=node)


def test_a_trial_goes_out_as_it_is_and_comes_back_as_it_became(
    driver: Path, node: Path, link: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "PIECE_BYTES", 4)
    (driver / "run" / "trial" / "training-state.safetensors").write_bytes(b"0123456789")
    (driver / "run" / "trial" / "steps.jsonl").write_text("old")
    (driver / "run" / "trial" / ".checkpoint.a.half").write_text("a node was lost")
    (node / "run" / "trial").mkdir(parents=True)
    (node / "run" / "trial" / "left behind").write_text("by an earlier study")
    carrier = Carrier(link)

    carrier.fetch(node / "run" / "trial")
    fetched = {path.name: path.read_bytes() for path in (node / "run" / "trial").iterdir()}
    (node / "run" / "trial" / "steps.jsonl").unlink()
    (node / "run" / "trial" / "checkpoint").mkdir()
    (node / "run" / "trial" / "checkpoint" / "weights").write_bytes(b"abcdefgh")
    (node / "run" / "trial" / "empty").write_bytes(b"")
    carrier.bring(node / "run" / "trial")

    assert fetched == {
        "config.yaml": b"a: 1\n",
        "training-state.safetensors": b"0123456789",
        "steps.jsonl": b"old",
    }
    there = driver / "run" / "trial"
    assert {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("*") if path.is_file()} == {
        "config.yaml": b"a: 1\n",
        "training-state.safetensors": b"0123456789",
        "checkpoint/weights": b"abcdefgh",
        "empty": b"",
    }
    assert not (node / "run" / "trial").exists()


def test_a_file_has_its_name_only_once_it_is_whole(driver: Path) -> None:
    there = Shelf(driver / "run", [])
    state = driver / "run" / "trial" / "training-state.safetensors"
    state.write_bytes(b"old")

    there.write(state, "a", 0, b"ne")
    assert state.read_bytes() == b"old"
    assert [entry.path.name for entry in there.under(driver / "run")] == ["config.yaml", state.name]
    there.write(state, "a", 2, b"w")
    there.finish(state, "a")

    assert state.read_bytes() == b"new"
    assert sorted(path.name for path in state.parent.iterdir()) == ["config.yaml", state.name]


def test_a_state_is_brought_again_only_when_it_is_new(driver: Path, node: Path, link: Elsewhere) -> None:
    state = node / "run" / "trial" / "training-state.safetensors"
    state.parent.mkdir(parents=True)
    carrier = Carrier(link)

    carrier.bring_if_new(state)
    state.write_bytes(b"12")
    carrier.bring_if_new(state)
    carrier.bring_if_new(state)
    state.write_bytes(b"123")
    carrier.bring_if_new(state)

    assert [size for size in link.pieces if size] == [2, 3]
    assert (driver / "run" / "trial" / "training-state.safetensors").read_bytes() == b"123"


def test_input_files_are_brought_where_they_are_missing_and_refused_where_they_are_others(
    node: Path, link: Elsewhere
) -> None:
    assert Carrier(link).fetch_inputs() == [node / "rows.jsonl"]
    assert Carrier(link).fetch_inputs() == []

    (node / "rows.jsonl").write_text("[]\n")
    with pytest.raises(MachineError, match="other contents"):
        Carrier(link).fetch_inputs()
    (node / "rows.jsonl").write_text("longer\n")
    with pytest.raises(MachineError, match="another size"):
        Carrier(link).fetch_inputs()


def test_a_directory_that_was_not_made_for_copies_is_never_removed(node: Path, link: Elsewhere) -> None:
    carrier = Carrier(link)
    (node / "run").mkdir()
    (node / "run" / "study.yaml").write_text("somebody's")

    with pytest.raises(MachineError, match="Share it, or remove it here"):
        carrier.settle_in(node / "run")
    carrier.move_out(node / "run")
    assert (node / "run" / "study.yaml").exists()

    carrier.settle_in(node / "copy")
    (node / "copy" / "file").write_text("sent")
    carrier.settle_in(node / "copy")
    carrier.move_out(node / "copy")
    assert not (node / "copy").exists()


def test_nothing_outside_the_run_directory_is_given_or_taken(driver: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    (driver / "run" / "link").symlink_to(tmp_path)
    there = Shelf(driver / "run", [driver / "rows.jsonl"])

    assert there.read(driver / "rows.jsonl", 0) == b"{}\n"
    for path in (
        secret,
        driver / "run" / ".." / "rows.jsonl" / ".." / ".." / "secret",
        driver / "run" / "link" / "secret",
    ):
        with pytest.raises(RunError, match="outside the run directory"):
            there.read(path, 0)
        with pytest.raises(RunError, match="outside the run directory"):
            there.write(path, "a", 0, b"x")
        with pytest.raises(RunError, match="outside the run directory"):
            there.replace(path.parent, [])
    with pytest.raises(RunError, match="outside the run directory"):
        there.write(driver / "rows.jsonl", "a", 0, b"x")
    with pytest.raises(RunError, match="token"):
        there.write(driver / "run" / "x", "../../a", 0, b"x")
    assert secret.read_text() == "password"


def test_a_directory_that_cannot_be_made_is_one_clear_line(node: Path, link: Elsewhere) -> None:
    node.rmdir()
    node.write_text("a file where a directory should be")

    with pytest.raises(MachineError, match=r"rows\.jsonl cannot be written on this node: .*[Ss]hare the file system"):
        Carrier(link).fetch_inputs()
