"""Bounds on what comes from outside."""

import json
import os
import stat

import pytest

from evals import outside
from evals.errors import RunError, TaskError
from evals.items import read_sample_file
from evals.outside import MAX_DEPTH, is_inside, is_too_deep, lines_outside, make_public, parse_json, read_outside
from evals.tasks.json_schema import read_schema
from evals.tasks.paragraphs import read_paragraphs
from evals.tasks.user_grader import find_grader


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("rows.jsonl", True),
        ("a/../rows.jsonl", True),
        ("a/b/rows.jsonl", True),
        ("~/rows.jsonl", True),
        ("../rows.jsonl", False),
        ("a/../../rows.jsonl", False),
        ("/etc/passwd", False),
        ("out/passwd", False),
        ("in/rows.jsonl", True),
        ("rows\0.jsonl", False),
        ("circle", True),
    ],
)
def test_a_path_stays_in_its_directory_links_followed(tmp_path, name, inside) -> None:
    root = tmp_path / "study"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to("/etc")
    (root / "in").symlink_to("a")
    (root / "circle").symlink_to("circle")

    assert is_inside(root, name) is inside


def test_a_link_to_the_directory_itself_changes_nothing(tmp_path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "link").symlink_to("study")

    assert is_inside(tmp_path / "link", "rows.jsonl")


def test_json_is_read_to_a_depth() -> None:
    for depth, deep in ((1, False), (MAX_DEPTH, False), (MAX_DEPTH + 2, True), (900, True)):
        text = "[" * depth + "]" * depth
        assert is_too_deep(json.loads(text)) is deep
    for text in ("[" * 500 + "]" * 500, "[" * 100_000, '{"a":' * 400 + "1" + "}" * 400, "1" * 5000):
        with pytest.raises(ValueError, match=r"deep|Exceeds|Expecting"):
            parse_json(text)
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("parent", "given"), [(0o755, 0o755), (0o700, 0o700), (0o777, 0o755), (0o1777, 0o755), (0o750, 0o750)]
)
def test_what_was_private_gets_the_rights_of_its_place(tmp_path, parent, given) -> None:
    scratch = tmp_path / "place" / "scratch"
    scratch.mkdir(parents=True, mode=0o700)
    scratch.parent.chmod(parent)

    make_public(scratch)

    assert stat.S_IMODE(scratch.stat().st_mode) == given


@pytest.fixture
def endless(tmp_path):
    """A pipe that nobody writes to, a link to a device that never ends, and a file of a terabyte of nothing."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "reason"),
    [("pipe", "no regular file"), ("device", "no regular file"), ("sparse", "larger than 1,024 MiB")],
)
def test_what_has_no_end_is_refused_unread(endless, name, reason) -> None:
    with pytest.raises(OSError, match=reason):
        read_outside(endless / name)


@pytest.mark.parametrize("name", ["pipe", "device", "sparse"])
def test_no_reader_waits_for_what_has_no_end(endless, name) -> None:
    for read in (read_schema, read_paragraphs):
        with pytest.raises(TaskError, match=r"no regular file|larger than"):
            read(endless / name)


@pytest.mark.parametrize("name", ["pipe", "sparse"])
def test_a_grader_that_has_no_end_is_refused(endless, name) -> None:
    (endless / name).rename(endless / "grade.py")

    with pytest.raises(TaskError, match=r"no regular file|larger than"):
        find_grader("grade.py:grade", endless)


def test_lines_are_bounded(endless, monkeypatch) -> None:
    monkeypatch.setattr(outside, "MAX_LINE_BYTES", 100)
    (endless / "lines").write_bytes(b"a" * 99 + b"\n\nb")

    assert list(lines_outside(endless / "lines")) == [b"a" * 99 + b"\n", b"\n", b"b"]
    with pytest.raises(RunError, match=r"sparse:1: .*a line of more than"):
        read_sample_file(endless / "sparse")
    with pytest.raises(OSError, match="no regular file"):
        read_sample_file(endless / "pipe")
