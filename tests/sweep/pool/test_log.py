"""A worker's log has all that was printed, and no secret, in however many pieces it came."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.pool.log import LONGEST_LINE, WorkerLog

TOLD = "hf_abcdefghij"


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Gives what is in the log after these pieces were printed."""
    monkeypatch.setenv("HF_TOKEN", TOLD)

    def keep(*pieces: bytes, pause_seconds: float = 0.0) -> bytes:
        output, theirs = multiprocessing.Pipe(duplex=False)
        log = WorkerLog(tmp_path / "logs" / "worker-0.log", output)
        for piece in pieces:
            os.write(theirs.fileno(), piece)
            time.sleep(pause_seconds)
        theirs.close()
        log.finish(10)
        return log.path.read_bytes()

    return keep


def test_all_that_was_printed_is_there(logged: Callable[..., bytes]) -> None:
    assert logged(b"one\n", b"10 %\r20 %\r", b"\xff\xfe no text\nthe last words") == (
        b"one\n10 %\r20 %\r\xff\xfe no text\nthe last words"
    )


def test_a_second_worker_goes_on_where_the_first_ended(logged: Callable[..., bytes]) -> None:
    logged(b"first\n")

    assert logged(b"second\n") == b"first\nsecond\n"


def test_a_secret_is_not_there_though_it_came_in_two_pieces(logged: Callable[..., bytes]) -> None:
    said = f"token {TOLD}, again {TOLD}\n".encode()

    for cut in range(len(said)):
        assert TOLD.encode() not in logged(said[:cut], said[cut:])


@pytest.mark.parametrize("read", [1, 6, len(TOLD) - 1])
def test_a_secret_is_not_there_where_a_long_line_is_cut(logged: Callable[..., bytes], read: int) -> None:
    said = logged(b"x" * LONGEST_LINE, TOLD[:read].encode(), f"{TOLD[read:]} again\n".encode(), pause_seconds=0.1)

    assert said == b"x" * LONGEST_LINE + b"*** again\n"


def test_a_secret_of_several_lines_is_not_there(logged: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["-----BEGIN-----\n", "abcdefghij\n", "klmnopqrst\n", "-----END-----"]
    monkeypatch.setenv("TLS_PRIVATE_KEY", "".join(lines))

    assert logged(*(line.encode() for line in lines), b"\nand on\n", pause_seconds=0.1) == b"***\nand on\n"
    assert logged(lines[0].encode(), b"of another\n", pause_seconds=0.1).endswith(b"-----BEGIN-----\nof another\n")
    assert logged(lines[0].encode()).endswith(b"-----BEGIN-----\n")


def test_a_line_without_an_end_is_written_in_pieces(logged: Callable[..., bytes]) -> None:
    pieces = [b"x" * LONGEST_LINE for _ in range(10)]

    assert logged(*pieces) == b"".join(pieces)


def test_a_file_that_cannot_be_written_does_not_hold_the_worker_up(tmp_path: Path) -> None:
    output, theirs = multiprocessing.Pipe(duplex=False)
    log = WorkerLog(tmp_path / "worker-0.log", output)
    log.path.unlink()
    log.path.mkdir()

    for _ in range(64):
        os.write(theirs.fileno(), b"y" * (LONGEST_LINE - 1) + b"\n")
    theirs.close()
    log.finish(10)

    assert not any(log.path.iterdir())
