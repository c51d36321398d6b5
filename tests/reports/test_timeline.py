"""What ran when: lanes, pauses and parts."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reports.document import Table
from reports.gather import gather
from reports.timeline import MOST_LANES, WAITING, parts_of, time_blocks, timeline
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

Make = Callable[..., TrialRecord]


@pytest.fixture
def run_of(
    tmp_path, build: Callable[..., RunDirectory], study: Callable[..., StudySpec], trial: Make, write
) -> Callable[..., RunDirectory]:
    def make(*spans: tuple[float, float], **changes: object) -> RunDirectory:
        spec = study(("lora",))
        run = build(tmp_path, spec, search=False, confirm=False)
        run.baseline.record.unlink()
        for number, (start, seconds) in enumerate(spans):
            record = trial(
                spec, "lora", number, {"training.learning_rate": 1e-4}, 0.4, seconds_total=seconds, **changes
            )
            began = record.started_at.replace(hour=0, minute=0, second=0) + timedelta(seconds=start)
            write(run, record.model_copy(update={"started_at": began}))
        return run

    return make


def test_trials_that_ran_at_once_lie_in_lanes(run_of: Callable[..., RunDirectory]) -> None:
    laid = timeline(gather(run_of((0, 100), (50, 100), (100, 20), (160, 10))))

    assert laid is not None
    [row] = laid.rows
    assert [span.lane for span in row.spans] == [0, 1, 0, 0]
    assert (row.lanes, laid.seconds) == (2, 170)


def test_lanes_are_bounded(run_of: Callable[..., RunDirectory]) -> None:
    laid = timeline(gather(run_of(*[(0, 100)] * 12)))

    assert laid is not None
    assert laid.rows[0].lanes == MOST_LANES


def test_a_night_is_taken_out_of_the_clock(run_of: Callable[..., RunDirectory]) -> None:
    laid = timeline(gather(run_of((0, 100), (100, 100), (40_000, 100))))

    assert laid is not None
    assert laid.seconds == 300
    assert [(pause.at, pause.seconds) for pause in laid.pauses] == [(200, 39_800)]
    assert [span.start for span in laid.rows[0].spans] == [0, 100, 200]


def test_short_waits_stay(run_of: Callable[..., RunDirectory]) -> None:
    laid = timeline(gather(run_of((0, 100), (130, 100))))

    assert laid is not None
    assert (laid.seconds, laid.pauses) == (230, ())


def test_a_reused_trial_took_no_time(run_of: Callable[..., RunDirectory]) -> None:
    assert timeline(gather(run_of((0, 100), reused_from=0))) is None
    assert time_blocks(gather(run_of((0, 100), reused_from=0))) == []


def test_what_no_part_accounts_for_is_shown(study: Callable[..., StudySpec], trial: Make) -> None:
    records = [
        trial(study(("lora",)), "lora", number, {}, 0.4, seconds={"train": 60.0, "score": 30.0}, seconds_total=100.0)
        for number in range(2)
    ]

    assert parts_of(records) == {"train": 120.0, "score": 60.0, WAITING: 20.0}


def test_times_of_parts_are_in_the_table(run_of: Callable[..., RunDirectory]) -> None:
    [table] = time_blocks(gather(run_of((0, 100), (100, 100), seconds={"train": 75.0, "rest": 25.0})))

    assert isinstance(table, Table)
    assert [column.title for column in table.columns] == ["what", "runs", "train", "rest", "total"]
    assert list(table.rows[0]) == ["lora", "2", "2 min 30 s (75 %)", "50 s (25 %)", "3 min 20 s"]
