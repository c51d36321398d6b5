"""Build a report from a run directory alone: nothing is run or fetched, and the same records give the same bytes.

report/index.html   one file to read or to send
       report.md    the same in Markdown
       tables/      trials.csv, methods.csv, verdicts.csv
       figures/     SVG and PNG
"""

from pathlib import Path

from reports import html, markdown, table
from reports.csv_files import methods_table, to_csv, verdicts_table
from reports.figures import draw_all
from reports.gather import gather
from reports.sections import build_document
from reports.summary import summarize
from reports.verdict import judge_run
from sweep.store import RunDirectory, write_text


def build(run: RunDirectory) -> Path:
    """Write the report and give the path of its HTML file. Raises RunDirectoryError where there is no run."""
    gathered = gather(run)
    summary = summarize(gathered)
    judgement = judge_run(gathered, summary.metric)
    drawn = draw_all(gathered, summary)
    document = build_document(gathered, summary, [figure for figure, _ in drawn], judgement)
    for _, drawing in drawn:
        drawing.write(run.report / markdown.FIGURES)
    write_text(run.report / "tables" / "trials.csv", to_csv(table.trials(run)))
    write_text(run.report / "tables" / "methods.csv", to_csv(methods_table(summary)))
    write_text(run.report / "tables" / "verdicts.csv", to_csv(verdicts_table(judgement.all)))
    write_text(run.report / "report.md", markdown.render(document))
    page = run.report / "index.html"
    write_text(page, html.render(document))
    return page
