"""Bounds on what comes from outside."""

import json
import stat

import pytest

from evals.outside import MAX_DEPTH, is_inside, is_too_deep, make_public, parse_json


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
    ],
)
def test_a_path_stays_in_its_directory_links_followed(tmp_path, name, inside) -> None:
    root = tmp_path / "study"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to("/etc")
    (root / "in").symlink_to("a")

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
