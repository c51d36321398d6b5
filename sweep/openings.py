"""How often the test data of a study were opened, for whom and when.

A score on test data means what it says only if few have looked. So every opening is on disk before the scoring begins:
that of a phase, a repetition after a kill, a score taken again by hand. A trial that was killed before it came to be
scored has been counted too: the count is never too low.
"""

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from evals.outside import parse_json, read_outside
from evals.spec import GENERAL_TEXT, OUR_TASKS, RENDERED_TASKS, Spec, TaskSpec
from sweep.config import Split, TrialConfig
from sweep.errors import RunDirectoryError
from sweep.selection import tasks_of
from sweep.spec import StudySpec
from sweep.store import RunDirectory

BASE_MODEL = "base model"
By = Literal["study", "eval", "rerun"]


class Opening(Spec):
    """One time that test data were opened."""

    at: datetime
    """When, UTC."""
    by: By
    """The confirm phase, `sweep eval`, or `sweep rerun`."""
    who: str
    """Which model they were opened for: `base model`, `lora seed 1`, or as it was named on the command line."""
    tasks: tuple[str, ...]
    """The tasks whose test items were asked."""


def record_opening(run: RunDirectory, *, by: By, who: str, tasks: Sequence[str]) -> None:
    """Note an opening, on disk when this returns. Call it before anything is scored.

    Raises RunDirectoryError where that is impossible: nobody looks uncounted.
    """
    run.refuse_ways_out()
    opening = Opening(at=datetime.now(UTC), by=by, who=who, tasks=tuple(tasks))
    try:
        with run.test_openings.open("ab") as stream:
            # A line that a killed process left unfinished must not swallow this one.
            torn = stream.tell() > 0 and not _ends_with_newline(run)
            stream.write((b"\n" if torn else b"") + opening.model_dump_json().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise RunDirectoryError(
            f"{run.test_openings}: cannot be written ({error.strerror}), and the test data are not opened uncounted. "
            "Make the run directory writable, or copy it."
        ) from error


def read_openings(run: RunDirectory) -> list[Opening]:
    """Every opening, in order; none where the file is not there. Lines that hold none are left out.

    Raises RunDirectoryError where it cannot be read.
    """
    if not run.test_openings.exists():
        return []
    try:
        lines = read_outside(run.test_openings).decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise RunDirectoryError(f"{run.test_openings}: cannot be read: {error.strerror}.") from error
    openings = []
    for line in lines:
        try:
            openings.append(Opening.model_validate(parse_json(line)))
        except (ValueError, ValidationError):
            continue
    return openings


def note_test_opening(run: RunDirectory, config: TrialConfig, *, by: By) -> None:
    """Note that a trial opens test data, where it does."""
    tasks = [task.task for task in config.tasks if task.task != GENERAL_TEXT]
    if config.split == "test" and tasks:
        record_opening(run, by=by, who=model_name(config), tasks=tasks)


def test_tasks(spec: StudySpec, tasks: Sequence[TaskSpec], split: Split) -> tuple[str, ...]:
    """Which of these tasks ask test items of a study: its own test rows, or what its confirm phase is scored on.

    The search's portion of a task is not among them, and the text that everybody is scored on is no test.
    """
    confirmed = {task.task for task in tasks_of(spec.evaluation, "confirm")} - OUR_TASKS
    return tuple(
        task.task
        for task in tasks
        if (task.task in RENDERED_TASKS and split == "test")
        or (task.task in confirmed and (task.portion is None or task.portion.part == "confirm"))
    )


def model_name(config: TrialConfig) -> str:
    """How a trial is called in the list: `lora seed 1`, `lora trial 3`, `base model`."""
    if config.method is None:
        return BASE_MODEL
    return f"{config.method} {'seed' if config.phase == 'confirm' else 'trial'} {config.number}"


def describe(openings: Sequence[Opening]) -> str:
    """How often the test data were opened, in a sentence."""
    if not openings:
        return "The test data have not been opened."
    times = Counter(opening.who for opening in openings)
    again = {who: count for who, count in times.items() if count > 1}
    models = f"{len(times)} model{'' if len(times) == 1 else 's'}"
    text = f"The test data were opened {_times(len(openings))}, for {models}"
    if not again:
        return f"{text}." if len(times) == 1 else f"{text}, once for each."
    repeated = ", ".join(f"{who} {_times(count)}" for who, count in again.items())
    return f"{text}; more than once for {repeated}."


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _ends_with_newline(run: RunDirectory) -> bool:
    with run.test_openings.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
