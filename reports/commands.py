"""The commands that give the report's numbers again.

They are written for someone who stands in the directory that holds the directory of runs, so that a report says the
same on every machine that the runs are copied to.
"""

import shlex

from reports import wording
from reports.document import Block, Code, Column, Paragraph, Table
from reports.gather import Gathered
from sweep.record import TrialRecord
from sweep.tracking.payload import run_name


def blocks(gathered: Gathered) -> list[Block]:
    """The commands for the whole study, and two for each row."""
    place = run_place(gathered)
    runs = place.partition("/")[0]
    again = Paragraph(
        f"From the directory that holds {runs}/. The first line runs the study again from its file (with the run "
        "directory in place it only adds what is missing); the second builds this report again."
    )
    code = Code(f"sweep run STUDY.yaml --runs {shlex.quote(runs)}\nsweep report {shlex.quote(place)}")
    rows = [_row(record, place, gathered) for record in gathered.records if record.reused_from is None]
    if not rows:
        return [again, code]
    columns = [
        Column("row"),
        Column("command that trains and scores it again", "code"),
        Column("command that scores it again", "code"),
    ]
    caption = (
        "The first command of a row runs it again from its recorded config and says whether data, versions, weights "
        "and scores agree; the second scores what was saved on the same tasks."
    )
    return [again, code, Table(columns, rows, caption)]


def run_place(gathered: Gathered) -> str:
    """The run directory as seen from beside the directory of runs."""
    path = gathered.run.path.resolve()
    return f"{path.parent.name}/{path.name}"


def _row(record: TrialRecord, place: str, gathered: Gathered) -> list[str]:
    directory = gathered.directory(record).path.relative_to(gathered.run.path).as_posix()
    again = f"sweep rerun {shlex.quote(place)} {shlex.quote(directory)}"
    score = wording.NONE if record.evaluation is None else f"sweep eval {shlex.quote(f'{place}/{directory}')}"
    return [run_name(record), again, score]
