"""Trials that were run together and killed go on: trained ones to be scored, the others after their last saved step."""

from functools import partial

import pytest
from interrupting import Cut, found_out
from wave_bench import CPU, Here, ToyFloor

from evals.tasks.library import TaskLibrary
from sweep.progress import Progress
from sweep.protocol import RunTogether, RunTrial
from sweep.record import TrialRecord
from sweep.stopping import Stop
from sweep.store import TrialDirectory
from sweep.together.bases import Bases
from sweep.together.wave import Wave
from sweep.training.lanes import engine
from sweep.training.lanes.width import Width
from sweep.training.state.file import read_values
from sweep.training.state.keeper import StateKeeper
from sweep.worker import TrialRunner


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after each step, and read one lane to a forward: then nothing depends on a clock."""
    monkeypatch.setattr(StateKeeper, "is_due", property(lambda _: True))
    monkeypatch.setattr(engine, "Width", lambda _: Width(1))


class CuttingFloor(ToyFloor):
    """Ends everything at a moment."""

    def __init__(self, place: int, phase: str, step: int, stop: Stop | None = None) -> None:
        super().__init__()
        self._moment = (place, phase, step)
        self._stop = stop

    def on_progress(self, place: int, progress: Progress) -> None:
        super().on_progress(place, progress)
        if (place, progress.phase, progress.step) == self._moment:
            if self._stop is None:
                raise Cut
            self._stop.ask()


class NotedFloor(ToyFloor):
    """Remembers what was said about each trial."""

    def __init__(self, waiting: list[RunTrial] | None = None) -> None:
        super().__init__(waiting=waiting or [])
        self.notes: list[tuple[int, str]] = []

    def on_progress(self, place: int, progress: Progress) -> None:
        super().on_progress(place, progress)
        if progress.note:
            self.notes.append((place, progress.note))


def saved(here: Here, number: int, **settings: object) -> RunTrial:
    made = here.trial(number, **{"num_train_epochs": 3, **settings})
    return RunTrial(made.config, made.directory, made.data, save_seconds=0.0)


def run(here: Here, floor: ToyFloor, trials: list[RunTrial], stop: Stop | None = None) -> dict[int, TrialRecord]:
    wave = Wave(
        floor,
        seats=len(trials),
        prepared=here.prepared,
        bases=Bases(here.path / "cache"),
        device=CPU,
        library=TaskLibrary(),
        stop=stop,
    )
    wave.run(trials)
    return floor.records


def whole(here: Here, *numbers: int) -> dict[int, TrialRecord]:
    """The same trials without an interruption, in directories of their own."""
    trials = [saved(here, number) for number in numbers]
    beside = [RunTrial(one.config, here.path / "whole" / one.directory.name, one.data) for one in trials]
    return run(here, ToyFloor(), beside)


def test_trials_killed_while_they_trained_end_in_the_records_that_they_would_have_had(here: Here) -> None:
    expected = whole(here, 0, 1)
    trials = [saved(here, 0), saved(here, 1)]

    with pytest.raises(Cut):
        run(here, CuttingFloor(1, "train", 5), trials)
    # Places are not numbers: the other one comes first now.
    floor = NotedFloor()
    records = run(here, floor, trials[::-1])

    assert found_out(records[1]) == found_out(expected[0])
    assert found_out(records[0]) == found_out(expected[1])
    assert [record.resumed for record in records.values()] == [1, 1]
    assert floor.notes == [(0, "Training goes on after step 4."), (1, "Training goes on after step 4.")]
    for record in records.values():
        assert record.seconds_total == pytest.approx(sum(record.seconds.values()))
        assert record.sharing.elapsed_seconds >= record.seconds_total
        assert min(record.seconds.values()) >= 0


def test_trials_killed_while_they_were_scored_are_not_trained_again(here: Here) -> None:
    expected = whole(here, 0, 1)
    trials = [saved(here, 0), saved(here, 1)]
    with pytest.raises(Cut):
        run(here, CuttingFloor(0, "score", 0), trials)

    floor = NotedFloor()
    records = run(here, floor, trials)

    for number in (0, 1):
        assert found_out(records[number]) == found_out(expected[number])
    assert "train" not in {part for _, part in floor.parts}
    assert [record.resumed for record in records.values()] == [1, 1]
    for record in records.values():
        assert {"load", "train", "save", "score"} <= record.seconds.keys()
        assert record.sharing.lanes == pytest.approx(2.0)


def test_a_trial_that_was_trained_and_one_that_was_not_go_on_together(here: Here) -> None:
    trials = [saved(here, 0), saved(here, 1, num_train_epochs=6)]
    with pytest.raises(Cut):
        run(here, CuttingFloor(1, "train", 20), trials)

    floor = NotedFloor()
    records = run(here, floor, trials)

    assert {record.state for record in records.values()} == {"COMPLETE"}
    assert {place for place, part in floor.parts if part == "train"} == {1}


def test_a_wave_that_is_told_to_stop_saves_every_trial_first(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(here, 0, 1)
    trials, stop = [saved(here, 0), saved(here, 1)], Stop()

    with monkeypatch.context() as patched:
        patched.setattr(StateKeeper, "is_due", property(lambda _: False))
        with pytest.raises(KeyboardInterrupt):
            run(here, CuttingFloor(0, "train", 6, stop), trials, stop)
    saves = [read_values(TrialDirectory(trial.directory).training_state)["head"]["step"] for trial in trials]
    records = run(here, ToyFloor(), trials)

    # The other one was told before it took its sixth.
    assert saves == [6, 5]
    for number in (0, 1):
        assert found_out(records[number]) == found_out(expected[number])


def test_a_trial_that_was_cut_off_in_a_lane_goes_on_in_one_when_it_is_handed_out_alone(
    here: Here,
) -> None:
    runner = TrialRunner(here.path / "cache")
    trials = [saved(here, 0), saved(here, 1)]
    floor = ToyFloor()
    beside = [RunTrial(one.config, here.path / "whole" / one.directory.name, one.data) for one in trials]
    runner.run_together(RunTogether(tuple(beside), 2), floor)
    with pytest.raises(Cut):
        runner.run_together(RunTogether(tuple(trials), 2), CuttingFloor(1, "train", 5))
    seen: list[Progress] = []

    records = [runner.run(trial, on_rung=partial(lambda *_: False), on_progress=seen.append) for trial in trials]

    for number, record in enumerate(records):
        mine, other = found_out(record), found_out(floor.records[number])
        # Scored alone, its rows are put into other batches.
        assert mine.pop("scores") == pytest.approx(other.pop("scores"), rel=1e-5)
        assert mine == other
    assert [record.resumed for record in records] == [1, 1]
    assert all(record.sharing is not None for record in records)
