r"""A report on a study whose every free text wants to break out of wherever it is put: nothing in it does anything.

The texts hold scripts, handlers, formulas, links that run, front matter, and commands of LaTeX. They stand in metrics'
names, prompts, answers, errors, settings, versions and notices, wherever a record or a file beside it has room.
"""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import find_browser, opened
from markdown_it import MarkdownIt
from reported_run import build_run, toy_study

from evals.spec import ModelSpec
from reports import render
from reports.csv_files import FORMULA_STARTS
from sweep.spec import DataSpec, ReportSpec
from sweep.store import RunDirectory, write_study

RUNS = "window.pwned=1"
HTML = (
    f"</script></title></style></svg></textarea>--><script>{RUNS}</script><img src=x onerror={RUNS}>"
    f'<svg/onload={RUNS}>"onmouseover="{RUNS}" autofocus onfocus=\'{RUNS}\' '
    f"<iframe srcdoc='<script>parent.{RUNS}</script>'>"
    f"<a href='javascript:{RUNS}'>x</a> ]]> &lt;script&gt;{RUNS}&lt;/script&gt; {{{{ 7*7 }}}}"
)
MARKDOWN = (
    f"[x](javascript:{RUNS}) ![x](http://evil.example/p.png) <http://evil.example> | ` `` ``` "
    "\n---\nlicense: evil\n# head"
)
LATEX = r"\input{/etc/passwd} \immediate\write18{touch sprung} $x$ % \end{table} ^^5cinput{x}"
FORMULAS = (
    '=HYPERLINK("http://evil.example")',
    "+1|' /C calc'!A0",
    "-2+3+cmd|'x'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\uff1d1",
)
PWN = f"{FORMULAS[0]};=1+1\t=2\n{HTML} {MARKDOWN} {LATEX} \x1b[31m \u202e \x00"
COMMANDS = frozenset(
    {
        *("providecommand", "sweepchar", "ifdefined", "Umathchardef", "else", "fi", "begin", "end", "centering"),
        *("footnotesize", "setlength", "tabcolsep", "caption", "vskip", "label", "sbox", "toprule", "midrule"),
        *(
            "bottomrule",
            "ifdim",
            "wd",
            "linewidth",
            "resizebox",
            "usebox",
            "char",
            "ldots",
            "pm",
            "mu",
            "cdot",
            "times",
        ),
        *("leftarrow", "rightarrow", "uparrow", "downarrow", "approx", "neq", "leq", "geq", "usepackage"),
    }
)
TOUCH = """document.querySelectorAll("*").forEach((one) => {
  for (const kind of ["mouseover", "focus", "error"]) one.dispatchEvent(new Event(kind));
})"""
BROWSER = find_browser()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = toy_study()
    model = ModelSpec.model_construct(**{**dict(spec.model), "model_name_or_path": PWN})
    data = DataSpec.model_construct(**{**dict(spec.data), "train": PWN})
    money = ReportSpec(price_per_hour=2.0, currency="=<b>|`_$")
    spec = spec.model_copy(update={"model": model, "data": data, "report": money})
    run = build_run(tmp_path_factory.mktemp("hostile"), toy_study())
    write_study(run, spec)
    for path in run.path.rglob("record.json"):
        path.write_text(json.dumps(poisoned(json.loads(path.read_text("utf-8")))))
    for path in run.path.rglob("samples_own_*.jsonl"):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        path.write_text("".join(json.dumps(poisoned_sample(line)) + "\n" for line in lines))
    run.environment.write_text(json.dumps({PWN: PWN, "environment": {f: f for f in FORMULAS}}))
    return render.build(RunDirectory(run.path)).parent


def poisoned(record: dict[str, Any]) -> dict[str, Any]:
    """The record with a text of ours wherever one may stand."""
    record["environment"] = {PWN: PWN, **{formula: formula for formula in FORMULAS}}
    record["seconds"] = {**record["seconds"], PWN: 1.0}
    if record["failure"]:
        record["failure"] |= {"message": PWN, "traceback": PWN}
    if record["training"]:
        record["training"] |= {"optim": PWN, "nondeterminism": PWN}
    if record["evaluation"]:
        found = record["evaluation"]
        exact = found["metrics"]["own/exact_match"]
        hostile = [f"own/{PWN}", f"{PWN}/acc", *(f"own/{formula}" for formula in FORMULAS), *FORMULAS]
        found["metrics"] |= dict.fromkeys(hostile, exact)
        found["constant"] |= dict.fromkeys(hostile, exact)
        found["task_versions"] |= {PWN: PWN}
        found["samples"] |= {PWN: PWN, "../../x": "../../../../etc/passwd"}
        found["notices"] = [PWN, *FORMULAS]
    for settings in (record["config"]["model"], record["config"]["data"]):
        settings |= {key: PWN for key in ("model_name_or_path", "train") if key in settings}
    record["config"]["params"] |= {"training.optim": PWN, "training.lr_scheduler_type": FORMULAS[1]}
    return record


def poisoned_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """One asked row, everything in it ours."""
    sample["doc"] |= {"prompt": PWN, "completion": PWN, "answer": PWN}
    return {**sample, "target": PWN, "resps": [[PWN], [[-1.0, 5]]], "filtered_resps": [PWN, [-1.0, 5]]}


def test_the_texts_are_in_it(report: Path) -> None:
    # Otherwise all that follows would pass for a report that left them out.
    page = (report / "index.html").read_text("utf-8")

    assert page.count("&lt;script&gt;window.pwned=1") > 20
    assert "window.pwned" in (report / "report.md").read_text("utf-8")
    assert "HYPERLINK" in (report / "tables" / "methods.csv").read_text("utf-8")
    assert "input" in (report / "tables" / "scores.tex").read_text("utf-8")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt-get install chromium")
@pytest.mark.parametrize("policy", ["with its policy", "by escaping alone"])
def test_no_script_runs_in_a_browser(report: Path, tmp_path: Path, policy: str) -> None:
    page = report / "index.html"
    if policy == "by escaping alone":
        text = page.read_text("utf-8")
        bare = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", text)
        assert len(bare) < len(text)
        page = tmp_path / "index.html"
        page.write_text(bare, "utf-8")

    with opened(str(BROWSER), tmp_path / "profile") as tab:
        tab.show(1280)
        tab.open(page)
        # What waits for a person is tried as well.
        tab.ask(TOUCH)
        assert tab.ask("window.pwned") is None
        assert tab.ask("document.scripts.length") == 1
        assert tab.ask("document.querySelectorAll('iframe, img, object, embed, form, base').length") == 0
        assert (
            tab.ask(
                "Array.from(document.querySelectorAll('*')).flatMap((one) => Array.from(one.attributes))"
                ".filter((one) => one.name.startsWith('on')).length"
            )
            == 0
        )
        assert (
            tab.ask("Array.from(document.links).filter((one) => one.protocol !== 'file:').map((one) => one.href)") == []
        )
        assert tab.requested == [page.as_uri()]
        assert tab.complaints == []


def test_every_figure_is_a_picture_and_nothing_else(report: Path) -> None:
    figures = sorted((report / "figures").glob("*.svg"))

    assert len(figures) > 5
    for path in figures:
        for element in ET.parse(path).iter():  # noqa: S314 - made by matplotlib just now
            assert element.tag.rpartition("}")[2] not in {"script", "foreignObject", "iframe", "image"}, path.name
            assert not [name for name in element.attrib if name.lower().startswith("on")], path.name
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(value.startswith("#") for value in links), path.name


@pytest.mark.parametrize("name", ["report.md", "cards/lora/README.md"])
def test_markdown_holds_no_html_and_no_link_outwards(report: Path, name: str) -> None:
    text = (report / name).read_text("utf-8")
    body = text.split("\n---\n", 1)[1] if name.startswith("cards") else text
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    every = [token for outer in tokens for token in (outer, *(outer.children or ()))]

    assert {token.type for token in every} & {"html_block", "html_inline"} == set()
    targets = [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in every
        if token.type in {"link_open", "image"}
    ]
    assert [target for target in targets if re.match(r"(?i)[a-z][a-z0-9+.-]*:|//|www\.", target)] == []
    # Outside code, GitHub makes a link of a bare address.
    prose = [re.sub(r"(`+).*?\1", "", token.content) for token in tokens if token.type == "inline"]
    assert [text for text in prose if re.search(r"\b(https?|ftp):(?=//)", text)] == []


def test_front_matter_is_what_we_wrote(report: Path) -> None:
    head = (report / "cards" / "lora" / "README.md").read_text("utf-8").split("---\n")[1]

    assert set(yaml.safe_load(head)) <= {
        *("base_model", "base_model_relation", "library_name", "pipeline_tag", "tags", "model-index"),
    }


def test_no_cell_is_a_formula(report: Path) -> None:
    tables = sorted((report / "tables").glob("*.csv"))
    opened_tables = [io.StringIO(path.read_text("utf-8"), newline="") for path in tables]
    cells = [cell for table in opened_tables for row in csv.reader(table) for cell in row]

    assert len(cells) > 500
    amiss = [cell for cell in cells if cell.lstrip().startswith(FORMULA_STARTS) and not is_number(cell)]
    assert amiss == []
    # A spreadsheet that divides at semicolons or tabs makes cells of its own.
    assert [cell for cell in cells if re.search(r"[;\t\n]\s*[=+@-]", cell) and not is_number(cell)] == []
    assert [cell for cell in cells if "\r" in cell or "\x00" in cell or "\x1b" in cell] == []


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_latex_holds_no_command_of_theirs(report: Path) -> None:
    found: set[str] = set()
    for path in (report / "tables").glob("*.tex"):
        text = path.read_text("utf-8")
        # A backslash that is told by its code begins no command.
        found |= set(re.findall(r"(?<!\\)\\([A-Za-z]+)", text))
        assert "^^" not in text, path.name

    assert found
    assert found & {"input", "immediate", "write", "end", "begin"} <= {"begin", "end"}
    assert {name for name in found if not name.startswith("text")} <= COMMANDS


def test_json_is_json(report: Path) -> None:
    json.loads((report / "report.json").read_text("utf-8"))
