"""The whole report: complete, the same each time, and safe to open."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest
from report_page import Page, digests, page

from reports import render
from sweep.store import RunDirectory

# Relative addresses stay in the run directory.
OUTSIDE = re.compile(
    r"""(?:src|action|data|poster|srcset)\s*=\s*["']|href\s*=\s*["'](?!#|\.\./)|url\((?!#)|@import|<(?:link|iframe|img)"""
)


@pytest.fixture(scope="module")
def report(finished_run: RunDirectory) -> Path:
    return render.build(finished_run).parent


def test_all_its_files_are_written(report: Path) -> None:
    figures = [
        *("all_losses", "best_of", "history", "losses", "quality_and_cost", "rate_and_rank", "scores"),
        *("search_and_test", "slices", "time_by_part", "timeline"),
    ]

    assert sorted(digests(report)) == sorted(
        [
            "index.html",
            "report.md",
            "report.json",
            *(f"tables/{name}.csv" for name in ("costs", "methods", "trials", "verdicts")),
        ]
        + [f"tables/{name}.tex" for name in ("costs", "methods", "scores", "search_costs")]
        + [f"cards/{name}/README.md" for name in ("full", "lora", "qlora")]
        + [f"figures/{name}.{ending}" for name in figures for ending in ("png", "svg")]
    )


def test_the_same_records_give_the_same_bytes(finished_run: RunDirectory, report: Path, tmp_path: Path) -> None:
    before = digests(report)
    copy = tmp_path / "runs" / "tickets"
    shutil.copytree(finished_run.path, copy, ignore=shutil.ignore_patterns("report"))

    assert digests(render.build(RunDirectory(copy)).parent) == before


def test_building_it_changes_nothing_else(finished_run: RunDirectory, report: Path) -> None:
    def others() -> dict[str, str]:
        return {name: digest for name, digest in digests(finished_run.path).items() if not name.startswith("report/")}

    before = others()
    assert render.build(finished_run).parent == report
    assert others() == before


def test_the_answer_comes_first_with_its_error_and_its_caution(report: Path) -> None:
    text = page(report).text

    assert "lora has the highest own/exact_match on the test split: 0.617 ± 0.017 (60 items, mean of 3 seeds)." in text
    assert "That lora is better than qlora and full is not shown." in text
    assert "lora scored 0.617 on own/exact_match, 58.3 points above the base model" in text
    assert text.index("lora has the highest") < text.index("Methods side by side")
    assert "unfinished" not in text


def test_both_forms_name_every_method_trial_and_failure(report: Path) -> None:
    shown = [page(report).text, (report / "report.md").read_text("utf-8").replace("\\", "")]

    for text in shown:
        for wanted in (
            "base model",
            "best constant answer",
            "reused from 0",
            "PRUNED",
            "FAIL: diverged",
            "CUDA out of memory.",
            "sweep eval runs/tickets/confirm/qlora/seed-2",
            "sweep report runs/tickets",
            "Toy 9000",
            "expected answer",
            "1 row did not fit",
            "Held-out rows that were seen before: 2 of test.",
        ):
            assert wanted in text


def test_the_page_is_well_formed_and_needs_nothing_from_outside(report: Path) -> None:
    source = (report / "index.html").read_text("utf-8")
    found = Page(source)

    assert found.open == []
    ids = Counter(value for name, value in found.attributes if name == "id")
    assert [value for value, count in ids.items() if count > 1] == []
    targets = {value for name, value in found.attributes if name in {"href", "xlink:href"} and value}
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    # Every file that it leads to is there.
    files = [target for target in sorted(targets) if not target.startswith("#")]
    assert [target for target in files if not (report / unquote(target)).exists()] == []
    assert any(target.endswith(".jsonl") for target in files)
    # Text is escaped, so whatever looks like markup in the source is markup.
    assert OUTSIDE.findall(source) == []
    assert not [name for name, _ in found.attributes if name.startswith("on")]


def test_texts_of_models_and_errors_stay_texts(report: Path) -> None:
    found = page(report)

    assert found.elements.count("script") == 1
    assert found.elements.index("script") < found.elements.index("body")
    assert "img" not in found.elements
    assert "<img src=x onerror=alert(1)>" in found.text
    assert "{{ 7*7 }}" in found.text
    assert "\\u202egnp.exe\\u0000" in found.text
    for path in (report / "index.html", report / "report.md", report / "tables" / "trials.csv"):
        raw = path.read_text("utf-8")
        assert "\u202e" not in raw
        assert "\x00" not in raw


def test_figures_follow_the_page_and_name_their_units(report: Path) -> None:
    source = (report / "index.html").read_text("utf-8")
    colours = set(re.findall(r"#[0-9a-f]{6}", re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL)))

    assert colours == set()
    for label in ("nats per token", "proportion, test split", "learning rate (log)", "optimizer step", "trial number"):
        assert label in source


def test_nothing_says_when_or_where_it_was_built(finished_run: RunDirectory, report: Path) -> None:
    for path in sorted(report.rglob("*")):
        if path.is_file():
            assert str(finished_run.path.parent.parent).encode() not in path.read_bytes()


def test_the_bytes_are_the_same_in_another_process_place_locale_and_time_zone(
    finished_run: RunDirectory, tmp_path: Path
) -> None:
    program = "import sys; from reports import render; from sweep.store import RunDirectory; from pathlib import Path; "
    program += "render.build(RunDirectory(Path(sys.argv[1])))"
    worlds = [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(tmp_path / "one")},
        {
            "PYTHONHASHSEED": "2",
            "TZ": "America/Lima",
            "LC_ALL": "C.UTF-8",
            "HOME": str(tmp_path / "two"),
            "COLUMNS": "40",
        },
    ]
    found = []
    for place, world in zip(("a", "deeper/b"), worlds, strict=True):
        copy = tmp_path / place / "runs" / "tickets"
        shutil.copytree(finished_run.path, copy, ignore=shutil.ignore_patterns("report"))
        subprocess.run([sys.executable, "-c", program, str(copy)], check=True, env=os.environ | world, timeout=120)
        found.append(digests(copy / "report"))

    assert found[0] == found[1]
    assert len(found[0]) > 20
