"""A training state is read back as it was written, or not at all."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sweep.training.state.file import StateUnusableError, TrainingState, read_state, read_values, write_state

VALUES = {"step": 7, "loss": 0.1 + 0.2, "rungs": {"1": 2.5}, "none": None}


def state() -> TrainingState:
    table = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    codes = torch.arange(256, dtype=torch.uint8)
    # Rows of one matrix, the same tensor twice, a transposed one, an empty one and a number.
    tensors = {"top": table[:2], "rest": table[2:], "codes": codes, "again": codes, "turned": table.T}
    return TrainingState(
        {**tensors, "empty": torch.empty(0, dtype=torch.uint8), "count": torch.tensor(3.0), "half": table.bfloat16()},
        VALUES,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "trial" / "state.safetensors"
    write_state(written, state())
    return written


def test_tensors_and_values_come_back_exactly(path: Path) -> None:
    found, expected = read_state(path), state()

    assert found.values == read_values(path) == VALUES
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_a_new_state_takes_the_place_of_the_old_one_and_nothing_else_is_left(path: Path) -> None:
    write_state(path, TrainingState({"one": torch.ones(1)}, {"step": 8}))

    assert read_state(path).values == {"step": 8}
    assert [left.name for left in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_state_that_was_cut_short_is_not_read(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(StateUnusableError, match="damaged"):
        read_state(path)


def test_a_state_with_any_byte_changed_is_not_read(path: Path) -> None:
    content = path.read_bytes()
    names = b"top rest codes again turned empty count half".split()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            found = read_state(path)
        except StateUnusableError:
            continue
        # What the checksum does not cover is how the header is written: spaces, and keys that nobody asks for.
        assert found.values == VALUES
        assert sorted(name.encode() for name in found.tensors) == sorted(names)
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state().tensors.items())


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04K\x01.", json.dumps({"step": 1}).encode(), b"\xff" * 4096])
def test_a_file_of_another_kind_is_not_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    for read in (read_state, read_values):
        with pytest.raises(StateUnusableError):
            read(path)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_there_is_no_room_the_old_state_stays_and_no_half_of_a_new_one(path: Path) -> None:
    with file_size_limit(10_000), pytest.raises(OSError, match=r"."):
        write_state(path, TrainingState({"large": torch.zeros(100_000)}, {"step": 8}))

    assert read_state(path).values == VALUES
    assert [left.name for left in path.parent.iterdir()] == [path.name]
