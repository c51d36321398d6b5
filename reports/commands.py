"""The commands that give the report's numbers again.

They are written for someone who stands in the directory that holds the directory of runs, so that a report says the
same on every machine that the runs are copied to.
"""

import shlex

from reports.document import Block, Code, Column, Paragraph, Table
from reports.gather import Gathered
from sweep.record import TrialRecord
from sweep.tracking.payload import run_name


def blocks(gathered: Gathered) -> list[Block]:
    """One command a scored row, and those for the whole study."""
    place = run_place(gathered)
    runs = place.partition("/")[0]
    again = Paragraph(
        f"From the directory that holds {runs}/. The first line runs the study again from its file (with the run "
        "directory in place it only adds what is missing); the second builds this report again."
    )
    code = Code(f"sweep run STUDY.yaml --runs {shlex.quote(runs)}\nsweep report {shlex.quote(place)}")
    rows = [[run_name(record), _command(record, place, gathered)] for record in gathered.records if _is_scored(record)]
    if not rows:
        return [again, code]
    columns = [Column("row"), Column("command that scores it again", "code")]
    return [again, code, Table(columns, rows, "Each command scores what was saved again, on the same tasks.")]


def run_place(gathered: Gathered) -> str:
    """The run directory as seen from beside the directory of runs."""
    path = gathered.run.path.resolve()
    return f"{path.parent.name}/{path.name}"


def _command(record: TrialRecord, place: str, gathered: Gathered) -> str:
    directory = gathered.directory(record).path.relative_to(gathered.run.path).as_posix()
    return f"sweep eval {shlex.quote(f'{place}/{directory}')}"


def _is_scored(record: TrialRecord) -> bool:
    return record.evaluation is not None and record.reused_from is None
