"""Several runs in one report: their methods in the same tables, and what keeps rows from being compared.

DIR/index.html report.md report.json tables/runs.csv tables/*.tex
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from reports import commands, csv_files, html, latex, markdown, wording
from reports.answer import missing_notes
from reports.comparable import SHA_CHARACTERS, Compiled, common_metrics, differences
from reports.contrast import BASE_MODEL
from reports.costs import costs, run_cells
from reports.document import Block, Cell, Code, Column, Document, Link, Paragraph, Section, Table
from reports.fields import Report
from reports.gather import gather
from reports.numbers import build_numbers, to_json
from reports.statistics import Estimate
from reports.summary import MethodSummary, summarize
from reports.verdict import judge_run
from sweep.disk import named
from sweep.files import write_text
from sweep.store import RunDirectory

HERE = "./"


class CombinedRun(BaseModel):
    """One of the runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    label: str
    """What it is called in the tables."""
    path: str
    """The way from this file to the run directory."""
    report: Report
    """Its own numbers; its trials are left out here and stand in its own `report.json`."""


class CombinedReport(BaseModel):
    """Several runs in numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    """Version of these fields."""
    metrics: tuple[str, ...]
    """Metrics that every run has."""
    differences: tuple[str, ...]
    """What keeps rows of different runs from being compared, in sentences; empty where nothing does."""
    runs: tuple[CombinedRun, ...]
    """The runs, in the order that they were named."""


def build(runs: Sequence[RunDirectory], to: Path) -> Path:
    """Write the combined report into a directory and give the path of its HTML file. Raises DiskError."""
    compiled = _compile(runs, to)
    metrics = common_metrics(compiled)
    noted = differences(compiled, metrics)
    document = _document(compiled, metrics, noted)
    texts = {
        "report.md": markdown.render(document, HERE),
        "report.json": to_json(_numbers(compiled, metrics, noted)),
        "tables/runs.csv": csv_files.to_csv(_csv(compiled)),
        "index.html": html.render(document, HERE),
    }
    for name, table in latex.paper_tables(document, None).items():
        texts[f"tables/{name}.tex"] = latex.render_table(table, f"runs-{name}")
    with named(to):
        for name, text in texts.items():
            write_text(to / name, text)
    return to / "index.html"


def _compile(runs: Sequence[RunDirectory], to: Path) -> list[Compiled]:
    compiled = []
    for run, label in zip(runs, _labels(runs), strict=True):
        gathered = gather(run)
        path = Path(os.path.relpath(run.path.resolve(), to.resolve())).as_posix()
        compiled.append(Compiled(label, path, gathered, summarize(gathered)))
    return compiled


def _labels(runs: Sequence[RunDirectory]) -> list[str]:
    """The directories' names, with as many parents as it takes to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for count in range(1, max(len(part) for part in parts) + 1):
        labels = ["/".join(part[-count:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{part[-1]} ({place})" for place, part in enumerate(parts, start=1)]


def _document(runs: Sequence[Compiled], metrics: Sequence[str], noted: Sequence[str]) -> Document:
    names = wording.listed([run.label for run in runs])
    scored = [_scores(runs, metrics)] if metrics else [Paragraph("These runs have no metric in common.", "warning")]
    sections = [
        Section("Scores", "scores", scored),
        Section("Costs", "costs", [_costs(runs)]),
        Section("Best settings", "settings", [_settings(runs)]),
        Section("Runs", "runs", [_runs(runs), *_again(runs)]),
    ]
    files = ("report.json", "report.md", "tables/runs.csv", "tables/scores.tex", "tables/costs.tex", "tables/runs.tex")
    return Document(
        title="Several runs in one table",
        subtitle=names,
        answer=[*_missing(runs), *_comparability(noted)],
        sections=sections,
        kind="Fine-tuning studies",
        files=[Link(name, name) for name in files if metrics or name != "tables/scores.tex"],
    )


def _missing(runs: Sequence[Compiled]) -> list[Block]:
    return [
        Paragraph(f"{run.label}: {block.text}", block.kind)
        for run in runs
        for block in missing_notes(run.gathered)
        if isinstance(block, Paragraph)
    ]


def _comparability(noted: Sequence[str]) -> list[Block]:
    if not noted:
        text = "All runs were asked the same questions in the same way, on the same base model: rows can be compared."
        return [Paragraph(text, "lead")]
    opening = Paragraph("Not every row can be compared with every other. Within one run, all can.", "lead")
    return [opening, *(Paragraph(text, "warning") for text in noted)]


def _scores(runs: Sequence[Compiled], metrics: Sequence[str]) -> Table:
    columns = [Column("run"), Column("method"), Column("rows", "code"), Column("seeds", "number")]
    columns += [Column(_titled(metric, runs), "number") for metric in metrics]
    rows: list[list[str | Cell]] = []
    for run in runs:
        sha = run.gathered.data_sha256.get(run.summary.split, wording.NONE)[:SHA_CHARACTERS]
        for method in _methods(run):
            found = [method.scores.get(metric) for metric in metrics]
            seeds = str(len(method.scored)) if method.scored else wording.NONE
            rows.append([_source(run), _leading(run, method), sha, seeds, *(_cell(one) for one in found)])
        base = [run.summary.baseline.get(metric) for metric in metrics]
        rows.append([_source(run), BASE_MODEL, sha, "1", *(_cell(one) for one in base)])
    caption = (
        "Each method's finalist: mean over seeds, and its 95 % interval from noise of items and seeds. Rows: "
        f"fingerprint of the own rows that were scored, cut to {SHA_CHARACTERS} characters; scores on own rows compare "
        "only where it is the same. ↑ higher is better, ↓ lower is better."
    )
    return Table(columns, rows, caption, stacks=True, name="scores")


def _titled(metric: str, runs: Sequence[Compiled]) -> str:
    found = [method.scores[metric] for run in runs for method in run.summary.methods if metric in method.scores]
    found += [run.summary.baseline[metric] for run in runs if metric in run.summary.baseline]
    return f"{metric} {'↓' if found and not found[0].higher_is_better else '↑'}"


def _cell(found: Estimate | None) -> Cell:
    if found is None:
        return Cell(wording.NONE)
    between = "" if found.interval is None else f" ({wording.interval(found.interval)})"
    return Cell(f"{wording.score(found.value)}{between}", value=found.value)


def _costs(runs: Sequence[Compiled]) -> Table:
    columns = [Column("run"), Column("method")]
    columns += [
        Column(title, "number")
        for title in (
            *("training time", "cost", "peak memory", "of", "trained share", "tokens/s", "saved size"),
            *("training FLOPs", "energy"),
        )
    ]
    rows: list[list[str | Cell]] = []
    for run in runs:
        known = {cost.name: cost for cost in costs(run.gathered, run.summary)}
        memory = "GPU" if run.summary.on_device else "host"
        for method in _methods(run):
            taken = run_cells(known[method.name], run.gathered.spec.report, memory)
            rows.append([_source(run), _leading(run, method), *taken])
    caption = "Means over the same trained models as the scores; memory is their largest."
    return Table(columns, rows, caption, stacks=True, name="costs")


def _settings(runs: Sequence[Compiled]) -> Table:
    rows: list[list[str | Cell]] = []
    for run in runs:
        for method in _methods(run):
            best = method.records.best
            params = {} if best is None else best.config.params
            shown = [f"{name.rpartition('.')[2]} {wording.setting(value)}" for name, value in params.items()]
            number = wording.NONE if best is None else str(best.config.number)
            rows.append([_source(run), method.name, number, ", ".join(shown)])
    columns = [Column("run"), Column("method"), Column("trial", "number"), Column("searched settings", "code")]
    return Table(columns, rows, "Settings of the best trial of each method, as the search found them.")


def _runs(runs: Sequence[Compiled]) -> Table:
    columns = [
        Column("run"),
        Column("base model", "code"),
        Column("data", "code"),
        Column("split"),
        Column("rows", "code"),
        Column("trials", "number"),
        Column("test scores", "number"),
    ]
    rows: list[list[str | Cell]] = []
    for run in runs:
        spec = run.gathered.spec
        sha = run.gathered.data_sha256.get(run.summary.split, wording.NONE)[:SHA_CHARACTERS]
        known = [spec.model.model_name_or_path, spec.data.train, run.summary.split, sha]
        searched = sum(method.spent for method in run.gathered.methods)
        confirmed = sum(len(method.scored) for method in run.gathered.methods)
        rows.append([_source(run), *known, f"{searched:,}", f"{confirmed:,}"])
    return Table(
        columns, rows, "Trials of the search that ran, and trained models scored on the test split.", name="runs"
    )


def _again(runs: Sequence[Compiled]) -> list[Block]:
    places = shlex.join([commands.run_place(run.gathered) for run in runs])
    return [Paragraph("Built by:"), Code(f"sweep report {places}")]


def _methods(run: Compiled) -> list[MethodSummary]:
    """Ranked ones first; those without a score after them, in the study's order."""
    ranked = run.summary.ranked
    return [*ranked, *(method for method in run.summary.methods if method not in ranked)]


def _source(run: Compiled) -> Cell:
    return Cell(run.label, links=[Link(run.label, f"{run.path}/report/index.html")])


def _leading(run: Compiled, method: MethodSummary) -> Cell:
    """A method's name, leading to the directory of its first seed, whose answers and config are there."""
    if not method.scored:
        return Cell(method.name)
    place = commands.trial_place(method.scored[0], run.gathered)
    return Cell(method.name, links=[Link(method.name, f"{run.path}/{place}/")])


def _csv(runs: Sequence[Compiled]) -> pd.DataFrame:
    frames = []
    for run in runs:
        spec = run.gathered.spec
        frame = csv_files.methods_table(run.summary)
        frame.insert(0, "run", run.label)
        frame.insert(1, "base_model", spec.model.model_name_or_path)
        frame.insert(2, "rows_sha256", run.gathered.data_sha256.get(run.summary.split, ""))
        frames.append(frame)
    # Columns of runs without scores are of no type yet, which pandas would have to guess at.
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    return pd.concat([frame.astype(object) for frame in filled], ignore_index=True)


def _numbers(runs: Sequence[Compiled], metrics: Sequence[str], noted: Sequence[str]) -> CombinedReport:
    parts = [
        CombinedRun(
            label=run.label,
            path=run.path,
            report=build_numbers(run.gathered, run.summary, judge_run(run.gathered, run.summary.metric)).model_copy(
                update={"trials": ()}
            ),
        )
        for run in runs
    ]
    return CombinedReport(metrics=tuple(metrics), differences=tuple(noted), runs=tuple(parts))
