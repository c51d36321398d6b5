"""A terminal shows what it is given and does nothing that it is told by it."""

import io
from collections.abc import Callable

import pytest
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text
from toy_runner import toy_study

from sweep.connections import reach
from sweep.options import PlainConsole, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🙂\n\ttab", "plain é 🙂\n\ttab"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("over\rwritten\x08", r"over\rwritten\x08"),
        ("\ud800", r"\ud800"),
    ],
)
def test_controls_are_shown_by_their_codes(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text", ["[/]", "[/bold] x", "a [b]c", "[link=file:///etc/passwd]x[/link] [/y]", ":bomb:", "\x1b[2J"]
)
def test_no_text_ends_a_command_or_reaches_the_terminal(text: str) -> None:
    stream = io.StringIO()

    PlainConsole(file=stream, emoji=False).print(text)

    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().strip()


@pytest.mark.parametrize("made_of", [Text, Padding, Panel, lambda text: Group(Text(text), text)])
def test_nothing_that_is_made_of_text_reaches_the_terminal(made_of: Callable[[str], RenderableType]) -> None:
    stream = io.StringIO()

    PlainConsole(file=stream, emoji=False).print(made_of("one\ntwo\x1b]0;title\x07\x1b[2J"))

    assert "\x1b" not in stream.getvalue()
    assert "one" in stream.getvalue().splitlines()[0] + stream.getvalue().splitlines()[1]
    assert r"two\x1b]0;title" in stream.getvalue()


def test_colours_of_our_own_reach_the_terminal() -> None:
    stream = io.StringIO()

    PlainConsole(file=stream, force_terminal=True, color_system="standard").print(Text("red", style="red"))

    assert stream.getvalue() == "\x1b[31mred\x1b[0m\n"


def test_a_check_says_what_a_study_runs_and_whom_it_tells() -> None:
    scoring = {"judge": {"base_url": "https://judge.example/v1", "model": "m", "api_key_env": "HF_TOKEN"}}
    spec = toy_study(
        model={"model_name_or_path": "a/b", "trust_remote_code": True, "revision": "0" * 40},
        data={"train": "rows.jsonl", "grader": "g.py:grade"},
        evaluation={"scoring": {**scoring, "allow_unsafe_code": True}},
        storage="postgresql://me:hunter22@db.example/x",
        tracking={"tracking_uri": "https://me:${PASSWORD}@mlflow.example"},
    )

    assert reach(spec) == [
        "Runs g.py:grade on this machine, as you.",
        f"Runs the code of a/b at {'0' * 40}.",
        "Runs programs that models write unprotected where there is no sandbox.",
        "Sends answers to https://judge.example/v1 and gives it ${HF_TOKEN}.",
        "Writes to postgresql://***@db.example/x.",
        "Writes to https://me:${PASSWORD}@mlflow.example.",
    ]
    assert reach(toy_study()) == []
