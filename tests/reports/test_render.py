"""The whole report: complete, the same each time, safe to open, and honest about what is missing."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from reports import render
from sweep.errors import RunDirectoryError
from sweep.record import Failure
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_record

Builder = Callable[..., RunDirectory]
Studies = Callable[..., StudySpec]
SELF_CLOSING = frozenset({"meta", "br", "img", "hr", "input", "link"})
# Relative addresses stay in the run directory.
OUTSIDE = re.compile(
    r"""(?:src|action|data|poster|srcset)\s*=\s*["']|href\s*=\s*["'](?!#|\.\./)|url\((?!#)|@import|<(?:link|iframe|img)"""
)


class Page(HTMLParser):
    """A page as a browser sees it: its elements, its ids, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in SELF_CLOSING:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def report(finished_run: RunDirectory) -> Path:
    return render.build(finished_run).parent


def page(report: Path) -> Page:
    return Page((report / "index.html").read_text("utf-8"))


def digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


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
            *(f"tables/{name}.csv" for name in ("methods", "trials", "verdicts")),
        ]
        + [f"tables/{name}.tex" for name in ("costs", "methods", "scores")]
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

    assert "lora has the highest own/exact_match on the test split: 0.617 ± 0.063 (60 items, mean of 3 seeds)." in text
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


def test_a_study_with_a_baseline_only_is_reported(tmp_path: Path, build: Builder, study: Studies) -> None:
    run = build(tmp_path, study(("lora",)), search=False, confirm=False)

    text = page(render.build(run).parent).text

    assert "This study is unfinished: the search has reached lora (0 of 6 trials)." in text
    assert "No method has been scored yet. The base model has own/exact_match 0.050 ± 0.035" in text


def test_a_study_in_which_nothing_ran_is_reported(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path, search=False, confirm=False)
    shutil.rmtree(run.baseline.path)

    text = page(render.build(run).parent).text

    assert "the base model has not been scored yet" in text
    assert "Nothing has been scored yet." in text


def test_scores_from_the_validation_split_are_said_to_flatter(tmp_path: Path, build: Builder) -> None:
    text = page(render.build(build(tmp_path, confirm=False)).parent).text

    assert "on the validation split, on which it was chosen: they look better than they are" in text
    assert (
        "the test split has been scored for lora (0 of 3 seeds), qlora (0 of 3 seeds) and full (0 of 3 seeds)" in text
    )


def test_lost_repetitions_and_unreadable_records_are_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    lost = run.confirm_trial("lora", 2)
    record = lost.read_record()
    assert record is not None
    failure = Failure(kind="out_of_memory", message="CUDA out of memory.")
    write_record(lost, record.model_copy(update={"state": "FAIL", "failure": failure, "evaluation": None}))
    run.confirm_trial("full", 3).record.write_text("{}")

    text = page(render.build(run).parent).text

    assert "1 repetition of lora ended without a score (out_of_memory); its scores come from the others." in text
    assert "confirm/full/seed-3/record.json is not a record that this version can read." in text
    assert "mean of 2 seeds" in text


def test_a_method_that_never_completed_a_trial_is_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path, confirm=False)
    for directory in (run.path / "search" / "full").iterdir():
        if directory.name != "0002":
            shutil.rmtree(directory)

    text = page(render.build(run).parent).text

    assert "No trial of full was completed, so it has no best settings and no test score." in text


def test_damaged_answers_are_said_and_cost_nothing_else(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    for path in run.confirm_baseline.eval.iterdir():
        path.write_text("{")

    text = page(render.build(run).parent).text

    assert "The per-item answers could not be read" in text
    assert "lora has the highest" in text


def test_where_no_answers_were_written_none_are_shown(tmp_path: Path, build: Builder, study: Studies) -> None:
    run = build(tmp_path, study(("lora",)), search=False, confirm=False)
    for path in run.baseline.eval.glob("samples_*"):
        samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        lines = [json.dumps(sample | {"filtered_resps": [""]}) + "\n" for sample in samples]
        path.write_text("".join(lines), "utf-8")

    assert "Example answers" not in page(render.build(run).parent).text


def test_trials_without_a_record_and_scores_without_answers_are_said(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    run.search_trial("lora", 1).record.unlink()
    shutil.rmtree(run.search_trial("lora", 3).path)
    run.search_trial("full", 4).record.write_text(run.search_trial("full", 4).record.read_text()[:100])
    shutil.rmtree(run.confirm_trial("qlora", 2).eval)
    run.confirm_trial("qlora", 1).steps.write_text('{"step": 1, "lo')

    text = page(render.build(run).parent).text

    assert "2 trials of lora left no record (numbers 1 and 3)." in text
    assert "search/full/0004/record.json is not a record that this version can read." in text
    assert "of full left no record" not in text
    assert "The per-item answers of 1 scored row are not in the run directory" in text


def test_trials_that_could_not_fit_are_reported(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    directory = run.search_trial("qlora", 1)
    record = directory.read_record()
    assert record is not None
    failure = Failure(kind="infeasible", message="Needs 31 GB of 24 GB.")
    changes = {"state": "FAIL", "failure": failure, "evaluation": None, "objective": None, "training": None}
    write_record(directory, record.model_copy(update=changes))

    text = page(render.build(run).parent).text

    assert "FAIL: infeasible" in text
    assert "Needs 31 GB of 24 GB." in text


def test_nothing_stays_of_an_earlier_state_of_the_run(tmp_path: Path, build: Builder) -> None:
    run = build(tmp_path)
    render.build(run)
    shutil.rmtree(run.path / "confirm")

    report = render.build(run).parent

    assert not (report / "cards").exists()
    assert not (report / "figures" / "search_and_test.svg").exists()


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


def test_a_directory_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"no study\.yaml here"):
        render.build(RunDirectory(tmp_path))
