"""Build a report from a run directory alone: nothing is run or fetched, and the same records give the same bytes.

report/index.html   one file to read or to send
       report.md    the same in Markdown
       report.json  every number, unrounded
       tables/      CSV for other programs, LaTeX for papers
       figures/     SVG and PNG
       cards/       a model card for each method, to publish its finalist with
"""

import shutil
from pathlib import Path

from reports import html, latex, markdown, table
from reports.costs import costs
from reports.csv_files import costs_table, methods_table, to_csv, verdicts_table
from reports.figures import draw_all
from reports.gather import gather
from reports.model_card import build_cards
from reports.numbers import build_numbers, to_json
from reports.run_contrasts import read_sides
from reports.sections import build_document
from reports.sections import methods_table as shown_methods
from reports.summary import summarize
from reports.verdict import judge_run
from sweep.disk import named
from sweep.files import write_text
from sweep.store import RunDirectory

PARTS = ("tables", "figures", "cards")
"""Directories of the report, written anew each time: what an earlier state of the run left there would mislead."""


def build(run: RunDirectory) -> Path:
    """Write the report and give the path of its HTML file.

    Raises RunDirectoryError where there is no run, and DiskError where it cannot be written.
    """
    run.refuse_ways_out()
    gathered = gather(run)
    sides = read_sides(gathered)
    summary = summarize(gathered, sides)
    judgement = judge_run(gathered, summary.metric, sides)
    drawn = draw_all(gathered, summary)
    document = build_document(gathered, summary, [figure for figure, _ in drawn], judgement)
    texts = {
        "report.md": markdown.render(document),
        "report.json": to_json(build_numbers(gathered, summary, judgement)),
        "tables/trials.csv": to_csv(table.trials(run)),
        "tables/methods.csv": to_csv(methods_table(summary)),
        "tables/costs.csv": to_csv(costs_table(costs(gathered, summary), summary, gathered.spec.report)),
        "tables/verdicts.csv": to_csv(verdicts_table(judgement.all)),
        **build_cards(gathered, summary, judgement.all),
        "index.html": html.render(document),
    }
    shown = None if summary.metric is None else shown_methods(gathered, summary, judgement)
    for name, paper_table in latex.paper_tables(document, shown).items():
        texts[f"tables/{name}.tex"] = latex.render_table(paper_table, f"{gathered.spec.name}-{name}")
    with named(run.path):
        for part in PARTS:
            shutil.rmtree(run.report / part, ignore_errors=True)
        for _, drawing in drawn:
            drawing.write(run.report / markdown.FIGURES)
        for name, text in texts.items():
            write_text(run.report / name, text)
    return run.report / "index.html"
