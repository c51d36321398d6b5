"""Trials that run out of memory are started again with less, in real worker processes and in ones that die as told."""

import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab import Lab, random_study
from shapes import llama_shape
from told_pool import ToldPool, told_dispatcher
from toy_runner import record, toy_study

from sweep.config import configure
from sweep.easing import Easing
from sweep.errors import RunDirectoryError
from sweep.events import Event, Notice
from sweep.progress import Progress
from sweep.protocol import Crashed, Died, Message, Progressed, Report, RunTogether
from sweep.record import TrialRecord
from sweep.shape import Device, Facts, RowLengths
from sweep.store import RunDirectory, write_record
from sweep.study.sources import ListSource

SCRIPT = Path(__file__).parents[2] / "toys" / "run_starving_study.py"
GIGABYTE = 10**9
FACTS = Facts(
    llama_shape(),
    Device("a CPU", "cpu", memory_bytes=64 * GIGABYTE, free_bytes=60 * GIGABYTE),
    {"train": RowLengths(rows=8, tokens=80, longest=20, learned=40)},
)
ONE_RANK = {"training.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}}
SEARCH_ONLY = {"trials_per_method": 2, "confirm_seeds": 0}


def notices(events: Sequence[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def test_a_trial_is_started_again_with_smaller_micro_batches_and_later_ones_begin_there(lab: Lab) -> None:
    events = lab.start(random_study(search_space=ONE_RANK, budget={**SEARCH_ONLY, "confirm_seeds": 1}), most_rows=2)

    assert lab.rows == [
        "search lora/0 4", "search lora/0 2", "search full/0 4", "search full/0 2", "search lora/1 2",
        "search full/1 2", "confirm lora/1 2", "confirm full/1 2",
    ]  # fmt: skip
    first, second = lab.run.search_records("lora")
    assert (first.state, second.state) == ("COMPLETE", "COMPLETE")
    assert first.easing is not None
    assert (first.easing.lanes, first.easing.micro_batch_size) == (1, 2)
    assert first.easing.why == ("It ended as out_of_memory.",)
    assert second.easing == Easing(
        lanes=1, micro_batch_size=2, why=("lora 0, which asks for no more memory, had run out of it.",)
    )
    assert notices(events)[0] == (
        "lora 0 ran out of memory and is started again: alone, micro-batches of 2 rows with 8 accumulated."
    )


def test_what_was_sampled_stays_and_the_search_learns_from_the_trial(lab: Lab) -> None:
    lab.start(random_study(budget=SEARCH_ONLY), most_rows=1)

    for number, ended in enumerate(lab.run.search_records("lora")):
        assert ended.config.method_spec is not None
        assert ended.config.method_spec.training.per_device_train_batch_size == 4
        assert ended.config_fingerprint == ended.config.fingerprint()
        trial = lab.optuna("lora")[number]
        assert (trial.state.name, trial.value) == ("COMPLETE", ended.objective)
    assert len(lab.optuna("lora")) == 2


def test_a_trial_that_fits_on_no_rung_is_infeasible_and_the_next_tries_the_last_rung_only(lab: Lab) -> None:
    with pytest.raises(Exception, match="no trial of any method completed"):
        lab.start(random_study(search_space=ONE_RANK, budget=SEARCH_ONLY), most_rows=0)

    assert [line for line in lab.rows if "lora" in line] == [
        "search lora/0 4", "search lora/0 2", "search lora/0 1", "search lora/0 1", "search lora/1 1",
    ]  # fmt: skip
    for ended, trial in zip(lab.run.search_records("lora"), lab.optuna("lora"), strict=True):
        assert (ended.state, ended.failure and ended.failure.kind) == ("FAIL", "out_of_memory")
        assert ended.easing is not None
        assert (ended.easing.micro_batch_size, ended.easing.gradient_checkpointing) == (1, True)
        assert trial.state.name == "COMPLETE"
        assert any(value > 0 for value in trial.constraints.values())


def test_a_study_that_goes_on_knows_what_did_not_fit(lab: Lab) -> None:
    lab.start(random_study(search_space=ONE_RANK, budget=SEARCH_ONLY), most_rows=2)
    before = len(lab.rows)

    lab.start(random_study(search_space=ONE_RANK, budget={**SEARCH_ONLY, "trials_per_method": 3}), most_rows=2)

    assert lab.rows[before:] == ["search lora/2 2", "search full/2 2"]


def test_a_study_that_was_stopped_between_two_rungs_goes_on_with_the_lower_one(lab: Lab) -> None:
    class Stopped(list[Event]):
        def append(self, event: Event) -> None:
            super().append(event)
            if isinstance(event, Notice):
                raise KeyboardInterrupt

    lab.events = Stopped()
    with pytest.raises(KeyboardInterrupt):
        lab.start(random_study(search_space=ONE_RANK, budget=SEARCH_ONLY), most_rows=1)
    assert lab.rows == ["search lora/0 4"]

    lab.events = []
    lab.start(random_study(search_space=ONE_RANK, budget=SEARCH_ONLY), most_rows=1)

    assert lab.rows[1:3] == ["search lora/0 2", "search lora/0 1"]
    assert len(lab.run.search_records("lora")) == 2


def test_what_was_found_out_and_cannot_be_read_is_named(lab: Lab) -> None:
    lab.start(random_study(search_space=ONE_RANK, budget=SEARCH_ONLY), most_rows=2)
    (lab.run.search_trial("lora", 0).easing).write_text('{"config": 1}')

    with pytest.raises(RunDirectoryError, match=r"0000/easing\.json: damaged, or not an easing"):
        lab.start(random_study(search_space=ONE_RANK, budget={**SEARCH_ONLY, "trials_per_method": 3}), most_rows=2)


def test_a_trial_that_does_not_fit_beside_others_is_tried_alone_and_costs_them_nothing(lab: Lab) -> None:
    spec = random_study(search_space=ONE_RANK, budget={"trials_per_method": 8, "confirm_seeds": 0}, lanes=2)

    lab.start(spec, facts=FACTS, most_rows=2)

    tried = [line for line in lab.rows if line.startswith("search lora")]
    # Both of the first pair ran out; nobody after the first alone was tried in lanes, or with as many rows.
    assert tried[:2] == ["search lora/0 4", "search lora/1 4"]
    assert tried[2:5] == ["search lora/0 4", "search lora/1 2", "search lora/0 2"]
    assert tried[5:] == [f"search lora/{number} 2" for number in range(2, 8)]
    assert {ended.state for ended in lab.run.search_records("lora")} == {"COMPLETE"}


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose processes may have 600 MiB together."""
    made = Path("/sys/fs/cgroup/memory") / f"sweep-test-{uuid.uuid4().hex}"
    try:
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text(str(600 * 2**20))
    except OSError:
        pytest.skip("needs a memory control group of its own")
    yield made
    made.rmdir()


def test_a_worker_that_the_kernel_ended_for_want_of_memory_goes_on_with_smaller_batches(lab: Lab, group: Path) -> None:
    ended = subprocess.run(
        [sys.executable, SCRIPT, lab.path, group], capture_output=True, text=True, check=False, timeout=120
    )

    assert ended.returncode == 0, ended.stderr
    tried = [line for line in lab.rows if "lora" in line]
    assert tried == ["search lora/0 4", "search lora/0 2", "search lora/1 2"]
    first, second = lab.run.search_records("lora")
    assert {first.state, second.state} == {"COMPLETE"}
    assert first.easing is not None
    (why,) = first.easing.why
    assert "was killed (SIGKILL) by the kernel, because memory ran out: its count of such kills has risen" in why


def dispatched(tmp_path: Path, pool: ToldPool, trials: int, seats: int) -> list[TrialRecord]:
    spec, run = toy_study(), RunDirectory(tmp_path)
    configs = [
        configure(spec, "lora", {}, phase="confirm", number=number, seed=number, data_root=tmp_path)
        for number in range(1, trials + 1)
    ]

    dispatcher = told_dispatcher(pool, run, seats=seats)
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))
    return run.confirm_records("lora")


KILLED = Died("out_of_memory", "The worker process was killed by the kernel.")


@pytest.mark.parametrize("end", [KILLED, Crashed("MemoryError: ", "", "out_of_memory")])
def test_a_worker_that_ends_with_its_trials_is_given_half_as_many(tmp_path: Path, end: Message) -> None:
    pool = ToldPool([end])

    found = dispatched(tmp_path, pool, trials=4, seats=4)

    seats = [request.seats if isinstance(request, RunTogether) else 1 for request in pool.requests]
    assert seats == [4, 2, 2]
    assert {ended.state for ended in found} == {"COMPLETE"}
    assert {ended.easing and (ended.easing.lanes, ended.easing.changes_training) for ended in found} == {(2, False)}


def test_a_killed_trial_goes_down_to_the_last_rung_and_then_fails_with_what_is_known(tmp_path: Path) -> None:
    pool = ToldPool([KILLED] * 9)

    (ended,) = dispatched(tmp_path, pool, trials=1, seats=1)

    sizes = [request.easing and request.easing.micro_batch_size for request in pool.requests]
    assert sizes == [None, 2, 1, 1]
    assert ended.failure is not None
    assert (ended.failure.kind, ended.failure.message) == ("out_of_memory", KILLED.message)
    assert ended.easing is not None
    assert ended.easing.why == (KILLED.message,) * 3


def test_smaller_micro_batches_are_no_help_to_a_trial_that_is_being_scored(tmp_path: Path) -> None:
    class Scoring(ToldPool):
        def wait(self, timeout_seconds: float) -> list[Report]:
            reports = super().wait(timeout_seconds)
            return [Report(report.job, Progressed(Progress("score", 0, 0, None))) for report in reports] + reports

    pool = Scoring([KILLED])

    (ended,) = dispatched(tmp_path, pool, trials=1, seats=1)

    assert len(pool.requests) == 1
    assert ended.failure is not None
    assert "was being scored" in ended.failure.message
    assert ended.easing is None


def test_another_finalist_in_the_same_directory_starts_as_it_asks(tmp_path: Path) -> None:
    dispatched(tmp_path, ToldPool([KILLED]), trials=1, seats=1)
    spec, run = toy_study(), RunDirectory(tmp_path)
    smaller = {"methods.lora.peft.lora_r": 8}
    config = configure(spec, "lora", smaller, phase="confirm", number=1, seed=1, data_root=tmp_path)

    pool = ToldPool([])
    dispatcher = told_dispatcher(pool, run)
    dispatcher.run(ListSource([config], spec.objective, needs_objective=False))

    (request,) = pool.requests
    assert request.easing is None
    assert not run.directory_of(config).easing.exists()


def test_records_of_before_have_no_easing(tmp_path: Path) -> None:
    config = configure(toy_study(), "lora", {}, phase="search", number=0, seed=0, data_root=tmp_path)
    directory = RunDirectory(tmp_path).directory_of(config)
    write_record(directory, record(config, value=1.0))
    plain = directory.record.read_text().replace('"easing": null,', "")
    assert "easing" not in plain
    directory.record.write_text(plain)

    found = directory.read_record()

    assert found is not None
    assert found.easing is None
