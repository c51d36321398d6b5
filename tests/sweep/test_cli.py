"""What a person sees of the command line before anything runs: helps, the version, and what is wrong with arguments."""

import re

import pytest

from sweep import cli

COMMANDS = ("init", "check", "plan", "run", "status", "report", "compare", "eval", "rerun", "prefetch", "doctor")
DEFAULTS = {
    "run": ("study's own", "finetune-sweep in the user's cache directory", "all", "the one that", "1", "runs"),
    "report": ("report",),
    "rerun": ("RUN_DIR/rerun/TRIAL-N",),
}


def _help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([command, "--help"]) == 0
    return re.sub(r"[│\s]+", " ", capsys.readouterr().out)


@pytest.mark.parametrize(("command", "defaults"), DEFAULTS.items())
def test_a_help_shows_what_holds_where_an_option_is_left_out(
    command: str, defaults: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _help(command, capsys, monkeypatch)

    assert all(re.search(rf"\[default: (the )?{re.escape(default)}", shown) for default in defaults)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0

    assert re.fullmatch(r"finetune-sweep \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_no_command_shows_the_help_and_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2

    shown = capsys.readouterr()
    assert all(command in shown.out for command in COMMANDS)
    assert shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope"], "No such command 'nope'. See sweep --help."),
        (["--nope"], "No such option: --nope. See sweep --help."),
        (["run"], "Missing argument 'STUDY.yaml'. See sweep run --help."),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_names_the_help_that_has_the_answer(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2

    assert capsys.readouterr().err == f"{complaint}\n"
