"""Tables that LaTeX compiles, whatever stands in them, and in which only what is meant to be is bold."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports import latex, render
from reports.document import Column, Table
from sweep.store import RunDirectory

HOSTILE = [
    "\\input{/etc/passwd}", "\\end{tabular}", "100 % & 5 $x_1^2$ #1 ~ {}", "[optional]", "*star", "-0.5 (-.25)",
    "a_b|c <d> \"e\" 'f' `g` -- ,, ?` !` << >>",
    "\u00b1 \u00b2 \u00b5 \u00d7 \u00f7 \u2013 \u2014 \u2026 \u2191 \u2264",
    "\u2018\u2019 \u201c\u201d \u00b0 \u00df \u00f1 \u0152", "\u4e2d\u6587 \u041f\u0440 \u05e2\u05d1 \U0001f600",
    "line\nbreak\x00\u202e", "^^41", "%comment", "\\\\[3cm]",
]  # fmt: skip
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""
ENGINE = shutil.which("pdflatex")
with_engine = pytest.mark.skipif(ENGINE is None, reason="no pdflatex here")


def hostile_table() -> Table:
    columns = [Column(HOSTILE[0]), Column("number", "number"), Column("code", "code")]
    rows = [[text, text, text] for text in HOSTILE]
    return Table(columns, rows, " ".join(HOSTILE), emphasized=frozenset({0, 8}))


def compiled(source: str, directory: Path) -> str:
    """The log of a run that succeeded."""
    (directory / "page.tex").write_text(DOCUMENT % source, "utf-8")
    command = [str(ENGINE), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, timeout=120, check=False)
    log = ran.stdout.decode("latin-1")
    assert ran.returncode == 0, log[-2000:]
    assert (directory / "page.pdf").stat().st_size > 1000
    return log


@with_engine
def test_a_table_with_anything_in_it_compiles(tmp_path: Path) -> None:
    log = compiled(latex.render_table(hostile_table(), "a_b:c"), tmp_path)

    # An opened file stands in the log behind a parenthesis.
    assert "(/etc/passwd" not in log


@with_engine
def test_the_tables_of_a_report_compile_within_the_page(finished_run: RunDirectory, tmp_path: Path) -> None:
    tables = sorted((render.build(finished_run).parent / "tables").glob("*.tex"))
    assert [path.stem for path in tables] == ["costs", "methods", "scores", "search_costs"]

    log = compiled("\n".join(f"\\input{{{path}}}" for path in tables), tmp_path)

    assert "Overfull" not in log


def test_specials_are_escaped() -> None:
    assert latex.escape(r"a_b & 5 % of $x$ #1 {y} \z ^~") == (
        r"a\_b \& 5 \% of \$x\$ \#1 \{y\} \textbackslash{}z \textasciicircum{}\textasciitilde{}"
    )
    assert latex.escape("0.6 ± 0.1 ↑ \u2013") == r"0.6 $\pm$ 0.1 $\uparrow$ --"
    assert latex.escape("[x] -- -0.5 2e-4") == r"{[}x] {-}{-} $-$0.5 2e{-}4"
    assert latex.escape("é 中") == r"é \sweepchar{中}{4E2D}"


def test_only_emphasized_rows_are_bold() -> None:
    table = Table([Column("a"), Column("b", "number")], [["x", "1"], ["y", "2"]], emphasized=frozenset({1}))

    assert re.findall(r"\\textbf\{([^}]*)\}", latex.render_table(table, "t")) == ["y", "2"]


def test_no_row_of_a_study_without_a_decision_is_bold(finished_run: RunDirectory) -> None:
    # The three methods' intervals overlap.
    for path in (render.build(finished_run).parent / "tables").glob("*.tex"):
        assert "textbf" not in path.read_text("utf-8")
