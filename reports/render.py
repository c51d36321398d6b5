"""Build a report from a run directory alone: nothing is run or fetched, and the same records give the same bytes.

report/index.html   one file to read or to send
       report.md    the same in Markdown
       tables/      trials.csv, methods.csv
       figures/     SVG and PNG
"""

from pathlib import Path

from reports import html, markdown, table
from reports.csv_files import methods_table, to_csv
from reports.figures import draw_all
from reports.gather import gather
from reports.sections import build_document
from reports.summary import summarize
from sweep.store import RunDirectory, write_text


def build(run: RunDirectory) -> Path:
    """Write the report and give the path of its HTML file. Raises RunDirectoryError where there is no run."""
    gathered = gather(run)
    summary = summarize(gathered)
    drawn = draw_all(gathered, summary)
    document = build_document(gathered, summary, [figure for figure, _ in drawn])
    for _, drawing in drawn:
        drawing.write(run.report / markdown.FIGURES)
    write_text(run.report / "tables" / "trials.csv", to_csv(table.trials(run)))
    write_text(run.report / "tables" / "methods.csv", to_csv(methods_table(summary)))
    write_text(run.report / "report.md", markdown.render(document))
    page = run.report / "index.html"
    write_text(page, html.render(document))
    return page
