"""The counter of test openings: on disk before anything else, whole after a kill, and told in a sentence."""

import os
from pathlib import Path

import pytest
from toy_runner import toy_study

from evals.spec import PortionSpec, TaskSpec
from sweep.errors import RunDirectoryError
from sweep.openings import describe, read_openings, record_opening
from sweep.openings import test_tasks as opened_tasks
from sweep.spec import EvaluationSpec
from sweep.store import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def note(run: RunDirectory, who: str) -> None:
    record_opening(run, by="study", who=who, tasks=("own", "mmlu"))


def test_openings_are_read_back_in_order_with_who_and_when(run: RunDirectory) -> None:
    assert read_openings(run) == []

    note(run, "base model")
    record_opening(run, by="eval", who="lora seed 1", tasks=("own",))

    first, second = read_openings(run)
    assert (first.who, first.by, first.tasks) == ("base model", "study", ("own", "mmlu"))
    assert (second.who, second.by) == ("lora seed 1", "eval")
    assert first.at <= second.at


def test_a_line_that_a_killed_process_left_unfinished_takes_no_other_with_it(run: RunDirectory) -> None:
    note(run, "base model")
    with run.test_openings.open("a") as stream:
        stream.write('{"at": "2026-01-01T00:00')

    note(run, "lora seed 1")

    assert [opening.who for opening in read_openings(run)] == ["base model", "lora seed 1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write anywhere")
def test_nobody_looks_uncounted_in_a_directory_that_cannot_be_written(run: RunDirectory) -> None:
    run.path.chmod(0o555)

    with pytest.raises(RunDirectoryError, match="not opened uncounted"):
        note(run, "base model")


def test_a_run_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not opened uncounted"):
        note(RunDirectory(tmp_path / "nowhere"), "base model")


def test_the_count_is_told_with_whoever_was_looked_at_more_than_once(run: RunDirectory) -> None:
    assert describe([]) == "The test data have not been opened."
    note(run, "base model")
    assert describe(read_openings(run)) == "The test data were opened once, for 1 model."
    note(run, "lora seed 1")
    assert describe(read_openings(run)) == "The test data were opened twice, for 2 models, once for each."

    note(run, "lora seed 1")

    assert describe(read_openings(run)) == (
        "The test data were opened 3 times, for 2 models; more than once for lora seed 1 twice."
    )


def test_what_counts_as_test_data_is_the_test_split_and_what_confirm_is_scored_on() -> None:
    spec = toy_study(
        evaluation=EvaluationSpec(
            search=(TaskSpec(task="own"), TaskSpec(task="arc_easy", limit=9)),
            confirm=(TaskSpec(task="own"), TaskSpec(task="arc_easy"), TaskSpec(task="gsm8k")),
        )
    )
    own, arc, gsm8k, piqa = (TaskSpec(task=name) for name in ("own", "arc_easy", "gsm8k", "piqa"))
    of_search = arc.model_copy(update={"portion": PortionSpec(part="search", search=9)})

    assert opened_tasks(spec, [own, gsm8k, piqa], "test") == ("own", "gsm8k")
    # A trial of the search that is scored on a whole benchmark by hand has been shown the test.
    assert opened_tasks(spec, [own, arc, gsm8k], "validation") == ("arc_easy", "gsm8k")
    assert opened_tasks(spec, [own, of_search, piqa, TaskSpec(task="general_text")], "validation") == ()
