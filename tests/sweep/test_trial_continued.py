"""A trial that was killed at any moment ends in the record that it would have had, and says that it was."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from interrupting import Cut, cut_at, found_out
from wave_bench import CPU, Here, make_here

from sweep.continuing import Saving
from sweep.course import Account, Course
from sweep.progress import Progress
from sweep.protocol import RunTrial
from sweep.record import TrialRecord
from sweep.stopping import Stop
from sweep.store import TrialDirectory
from sweep.training.state.keeper import StateKeeper
from sweep.trial import run_trial


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path) -> Here:
    return make_here(tiny_model, tmp_path)


@pytest.fixture(autouse=True)
def _after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps on a toy take less time than saving may have a share of."""
    monkeypatch.setattr(StateKeeper, "is_due", property(lambda _: True))


def trial(here: Here, kind: str = "lora", **settings: object) -> RunTrial:
    return here.trial(0, kind, **{"num_train_epochs": 3, **settings})


def run(
    here: Here,
    request: RunTrial,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: Stop | None = None,
) -> tuple[TrialRecord, list[Progress]]:
    """Run a trial as a worker does. Gives what it said too."""
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        on_progress(progress)

    record = run_trial(
        request.config,
        TrialDirectory(request.directory),
        here.prepared,
        cache=here.path / "cache",
        device=CPU,
        on_rung=lambda *_: False,
        on_progress=watch,
        saving=Saving(0.0, stop or Stop()),
    )
    return record, seen


def notes(seen: list[Progress]) -> list[str]:
    return [progress.note for progress in seen if progress.note]


def kill_while_scoring(progress: Progress) -> None:
    if progress.phase == "score" and progress.step:
        raise Cut


@pytest.mark.parametrize("kind", ["lora", "qlora", "full"])
def test_a_trial_killed_while_it_trained_ends_in_the_record_that_it_would_have_had(here: Here, kind: str) -> None:
    request = trial(here, kind)
    whole = here.alone(request)

    for step in (3, 7):
        with pytest.raises(Cut):
            run(here, request, on_progress=cut_at(step))
    record, seen = run(here, request)

    assert found_out(record) == found_out(whole)
    assert (record.resumed, whole.resumed) == (2, 0)
    assert record.training.nondeterminism is None
    assert notes(seen) == ["Training goes on after step 6."]
    assert next(progress.step for progress in seen if progress.phase == "train" and not progress.note) == 6


def test_a_trials_seconds_hold_those_before_it_was_killed_and_not_those_in_between(here: Here) -> None:
    request = trial(here)
    with pytest.raises(Cut):
        run(here, request, on_progress=cut_at(7))
    state = TrialDirectory(request.directory).training_state
    account = Course()
    earlier = _account_in(state)

    record, _ = run(here, request)

    assert earlier.seconds_total > 0
    assert record.seconds_total > earlier.seconds_total
    assert record.seconds_total >= sum(record.seconds.values())
    assert record.seconds["load"] > earlier.seconds["load"]
    assert record.started_at == earlier.started_at < account.started_at
    assert record.started_at + timedelta(seconds=record.seconds_total) < Course().started_at
    assert record.memory.host_bytes >= earlier.memory.host_bytes


def _account_in(state: Path) -> Account:
    from sweep.training.state.file import read_values

    return Account.model_validate(read_values(state)["head"]["account"])


def test_a_trial_killed_while_it_was_scored_is_not_trained_again(here: Here) -> None:
    request = trial(here)
    whole = here.alone(request)
    with pytest.raises(Cut):
        run(here, request, on_progress=kill_while_scoring)
    steps = (request.directory / "steps.jsonl").read_bytes()

    record, seen = run(here, request)

    assert found_out(record) == found_out(whole)
    assert record.resumed == 1
    assert {progress.phase for progress in seen if not progress.note} == {"score"}
    assert notes(seen) == ["It had been trained already, and is scored now."]
    assert (request.directory / "steps.jsonl").read_bytes() == steps
    assert {"load", "train", "validate", "wait", "save", "score"} <= record.seconds.keys()


@pytest.mark.parametrize("last", [False, True], ids=["while it trains", "at its last step"])
def test_a_trial_that_is_told_to_stop_says_so_and_goes_on_next_time(here: Here, last: bool) -> None:
    request, stop = trial(here), Stop()
    whole = here.alone(request)

    def ask(progress: Progress) -> None:
        if progress.phase == "train" and progress.step == (progress.steps if last else 5):
            stop.ask()

    stopped, _ = run(here, request, on_progress=ask, stop=stop)
    record, seen = run(here, request)

    assert (stopped.state, stopped.failure.kind) == ("FAIL", "interrupted")
    assert found_out(record) == found_out(whole)
    assert record.resumed == 1
    assert ("train" in {progress.phase for progress in seen}) != last


def test_a_state_that_is_damaged_or_of_other_work_is_not_gone_on_from_and_it_is_said(here: Here) -> None:
    request = trial(here)
    whole = here.alone(request)
    state = TrialDirectory(request.directory).training_state
    with pytest.raises(Cut):
        run(here, request, on_progress=cut_at(7))
    content = state.read_bytes()

    state.write_bytes(content[: len(content) // 2])
    damaged, said = run(here, request)
    state.write_bytes(content)
    other = RunTrial(request.config.model_copy(update={"seed": 8}), request.directory, request.data)
    another, said_too = run(here, other)

    assert found_out(damaged) == found_out(whole)
    assert (damaged.resumed, another.resumed) == (0, 0)
    assert "damaged" in notes(said)[0]
    assert "of other work (another config)" in notes(said_too)[0]
    assert another.training.final_sha256 != whole.training.final_sha256


def test_a_state_that_does_not_fit_after_all_costs_a_fresh_start(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.training import trainer
    from sweep.training.state.file import StateUnusableError

    request = trial(here)
    whole = here.alone(request)
    with pytest.raises(Cut):
        run(here, request, on_progress=cut_at(7))

    def refuse(*_: object) -> None:
        raise StateUnusableError("its optimizer has other parameters")

    monkeypatch.setattr(trainer, "put_optimizer", refuse)
    record, seen = run(here, request)

    # By then the weights had been put back.
    assert found_out(record) == found_out(whole)
    assert record.resumed == 0
    assert "other parameters" in notes(seen)[1]


def test_a_deadline_counts_the_time_before_an_interruption(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    request = trial(here, deadline=3600.0)
    long = Course().account(seconds_total=3601.0, elapsed_seconds=3601.0)
    with monkeypatch.context() as patched:
        patched.setattr(Course, "account", lambda *_, **__: long)
        with pytest.raises(Cut):
            run(here, request, on_progress=cut_at(7))

    record, _ = run(here, request)

    assert record.failure.kind == "deadline"
    assert record.resumed == 1


def test_a_trial_whose_states_are_not_saved_leaves_none_and_heeds_none(here: Here) -> None:
    request = trial(here)
    with pytest.raises(Cut):
        run(here, request, on_progress=cut_at(7))

    record = run_trial(
        request.config,
        TrialDirectory(request.directory),
        here.prepared,
        cache=here.path / "cache",
        device=CPU,
        on_rung=lambda *_: False,
        on_progress=lambda _: None,
    )

    assert (record.state, record.resumed) == ("COMPLETE", 0)
    assert not TrialDirectory(request.directory).training_state.exists()
