"""What a person sees of the command line before anything runs: helps, the version, and what is wrong with arguments."""

import re
from pathlib import Path

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


def test_a_study_that_needs_no_network_is_told_so_and_gets_no_empty_directory(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    study = f"name: toy\nmodel: {{model_name_or_path: {tiny_model}}}\ndata: {{train: rows.jsonl}}\nmethods: [lora]\n"
    (tmp_path / "study.yaml").write_text(study)

    assert cli.main(["prefetch", "study.yaml"]) == 0

    assert capsys.readouterr().out == "Nothing to fetch: toy needs nothing from a network.\n"
    assert not (tmp_path / "prefetched").exists()
