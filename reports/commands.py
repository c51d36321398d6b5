"""Where each number comes from: its per-item answers, and the commands that give it again.

The commands are written for someone who stands in the directory that holds the directory of runs, so that a report
says the same on every machine that the runs are copied to. Links lead from the run directory to files within it.
"""

import shlex
from collections.abc import Mapping

from reports import wording
from reports.document import Block, Cell, Code, Column, Link, Paragraph, Table
from reports.gather import Gathered
from sweep.record import TrialRecord
from sweep.tracking.payload import run_name


def blocks(gathered: Gathered) -> list[Block]:
    """The items and commands of each row that was run, and the commands for the whole study."""
    place = run_place(gathered)
    runs = place.partition("/")[0]
    again = Paragraph(
        f"From the directory that holds {runs}/. The first line runs the study again from its file (with the run "
        "directory in place it only adds what is missing); the second builds this report again."
    )
    code = Code(f"sweep run STUDY.yaml --runs {shlex.quote(runs)}\nsweep report {shlex.quote(place)}")
    rows = [_row(record, gathered) for record in gathered.records if record.reused_from is None]
    if not rows:
        return [again, code]
    columns = [
        Column("row"),
        Column("per-item answers"),
        Column("scores what was saved again", "code"),
        Column("trains and scores again", "code"),
    ]
    caption = "Every score in this report comes from one of these rows, or from several seeds of one method."
    return [again, code, Table(columns, rows, caption)]


def run_place(gathered: Gathered) -> str:
    """The run directory as seen from beside the directory of runs."""
    path = gathered.run.path.resolve()
    return f"{path.parent.name}/{path.name}"


def trial_place(record: TrialRecord, gathered: Gathered) -> str:
    """A trial's directory within the run directory."""
    return gathered.directory(record).path.relative_to(gathered.run.path).as_posix()


def commands_of(record: TrialRecord, gathered: Gathered) -> Mapping[str, str]:
    """What gives a record's numbers again: `score` from what was saved, `train` from its config alone."""
    place, trial = shlex.quote(run_place(gathered)), trial_place(record, gathered)
    trusting = " --trust-remote-code" if record.config.model.trust_remote_code else ""
    return {
        "score": f"sweep eval {shlex.quote(f'{run_place(gathered)}/{trial}')}{trusting}",
        "train": f"sweep rerun {place} {shlex.quote(trial)}{trusting}",
    }


def items_of(record: TrialRecord, gathered: Gathered) -> Mapping[str, str]:
    """Per-item files that are there, by task, within the run directory."""
    directory = gathered.directory(record)
    samples = {} if record.evaluation is None else record.evaluation.samples
    found = {task: directory.eval / name for task, name in sorted(samples.items())}
    return {
        task: path.relative_to(gathered.run.path).as_posix()
        for task, path in found.items()
        # A record may name anything; only what lies in its own directory is its own.
        if path.is_file() and path.resolve().is_relative_to(directory.eval.resolve())
    }


def source_cell(text: str, record: TrialRecord | None, gathered: Gathered) -> Cell:
    """A text that leads to where its record's numbers come from; a record without scores leads to itself."""
    if record is None:
        return Cell(text)
    if not is_scored(record):
        return Cell(text, links=[Link(text, f"{trial_place(record, gathered)}/record.json")])
    return Cell(text, links=[Link(text, f"#{anchor(record, gathered)}")])


def anchor(record: TrialRecord, gathered: Gathered) -> str:
    """Name of a record's row within the page."""
    return f"run-{trial_place(record, gathered).replace('/', '-')}"


def is_scored(record: TrialRecord) -> bool:
    """Whether the record has scores of its own."""
    return record.evaluation is not None and record.reused_from is None


def _row(record: TrialRecord, gathered: Gathered) -> list[str | Cell]:
    items, commands = items_of(record, gathered), commands_of(record, gathered)
    links = [Link(task, path) for task, path in items.items()]
    return [
        Cell(run_name(record), anchor=anchor(record, gathered)),
        Cell(", ".join(items) or "none here", links=links),
        commands["score"] if is_scored(record) else wording.NONE,
        commands["train"],
    ]
