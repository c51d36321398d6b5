"""The document of bad inputs says what the command line answers today, as far as that needs no model."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from bad_list import DATA, MODELS, RUNS, SCORES, STUDIES, Bad

from sweep import cli

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "benchmarks"))

from bad_inputs import Answer, ask, call_in  # noqa: E402 - found by the line above

DOCUMENT = (ROOT / "docs" / "bad-inputs.md").read_text("utf-8").splitlines()
RUNS_REPORTED = [bad for bad in RUNS if not bad.code]
ELAPSED = re.compile(r"\d+(\.\d+)? s\b")


def documented(bad: Bad) -> str:
    """The row of the document."""
    return next((line for line in DOCUMENT if line.startswith(f"| {bad.given} |")), "no such row")


# A whole report takes seconds: of those that are written all the same, one is enough for every day.
QUICK = [*STUDIES, *DATA, *[bad for bad in RUNS if bad.code], *SCORES, RUNS_REPORTED[0]]


@pytest.mark.parametrize(
    "bad",
    [*QUICK, *[pytest.param(bad, marks=pytest.mark.slow) for bad in RUNS_REPORTED[1:]]],
    ids=lambda bad: bad.given.replace(" ", "-"),
)
def test_the_document_is_up_to_date(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    def call(command: Sequence[str]) -> Answer:
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = cli.main(command)
        shown = capsys.readouterr()
        return Answer(code, shown.err if code else shown.out)

    answer = ask(bad, tmp_path, call)

    assert answer.code == bad.code
    assert answer.row(bad) == documented(bad)
    assert not list(tmp_path.rglob("sprung*"))


@pytest.mark.slow
@pytest.mark.parametrize("bad", MODELS, ids=lambda bad: bad.given.replace(" ", "-"))
def test_models_are_answered_as_documented(bad: Bad, tmp_path: Path) -> None:
    answer = ask(bad, tmp_path, call_in(tmp_path))

    assert answer.code == bad.code
    assert ELAPSED.sub("", answer.row(bad)) == ELAPSED.sub("", documented(bad))
    assert not list(tmp_path.rglob("sprung*"))


def test_every_row_of_the_document_is_tried() -> None:
    rows = [line for line in DOCUMENT if line.startswith("| ") and not line.startswith(("| given", "| ---"))]

    assert len(rows) == sum(map(len, (STUDIES, DATA, RUNS, SCORES, MODELS)))
