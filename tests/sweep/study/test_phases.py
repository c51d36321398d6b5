"""A study's phases in real worker processes: order, fairness, resuming after a kill, and what a run refuses."""

import dataclasses
import math
import re
import signal
from collections import Counter
from functools import partial

import pytest
from lab import Lab, name_of, random_study
from shapes import llama_shape
from toy_runner import RATE, ToyRunner, build_toy, toy_study
from toy_runner import record as make_record

from evals.spec import ModelSpec
from sweep.config import configure_baseline
from sweep.errors import InputError, RunError, StudyFailedError, TaskError
from sweep.events import DataReady, Notice, PhaseStarted, SpaceExhausted, StudyEnded, TrialRung
from sweep.plan.memory import estimate
from sweep.pool.local import LocalPool
from sweep.search.samplers import FEASIBLE
from sweep.shape import Device, Facts, RowLengths
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.store import write_record
from sweep.study.phases import Workers, run_study


def test_a_study_runs_baseline_then_all_methods_in_turn_then_finalists(lab: Lab) -> None:
    events = lab.start(random_study())

    search = [f"search {method}/{number}" for number in range(3) for method in ("lora", "full")]
    expected = ["baseline None/0", *search, "confirm None/0", "confirm lora/1", "confirm full/1"]
    assert lab.calls == expected
    assert lab.tracker.heard == ["start", *expected, "FINISHED"]
    assert [event.phase for event in events if isinstance(event, PhaseStarted)] == ["baseline", "search", "confirm"]
    assert isinstance(events[0], PhaseStarted | DataReady)
    assert events[-1] == StudyEnded("toy")
    assert {trial.state.name for method in ("lora", "full") for trial in lab.optuna(method)} == {"COMPLETE"}


def test_finalists_are_each_methods_best_on_seeds_that_the_search_never_used(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 3, "confirm_seeds": 2}, seed=7)

    lab.start(spec)

    for method in spec.methods:
        best = min(lab.run.search_records(method), key=lambda trial: trial.objective)
        repetitions = lab.run.confirm_records(method)
        assert [trial.config.seed for trial in repetitions] == [1008, 1009]
        assert {tuple(trial.config.params.items()) for trial in repetitions} == {tuple(best.config.params.items())}
        assert {trial.config.split for trial in repetitions} == {"test"}
        assert {trial.config.seed for trial in lab.run.search_records(method)} == {7}


def test_a_finished_study_starts_no_worker(lab: Lab) -> None:
    lab.start(random_study())
    before = {path: path.stat().st_mtime_ns for path in lab.run.path.rglob("record.json")}
    calls = lab.calls

    events = lab.start(random_study())

    assert lab.calls == calls
    assert events == [StudyEnded("toy")]
    assert {path: path.stat().st_mtime_ns for path in lab.run.path.rglob("record.json")} == before


def test_two_workers_share_a_study(lab: Lab) -> None:
    lab.start(random_study(), devices=(None, None), seconds=0.2)

    counts = Counter(call.split()[0] for call in lab.calls)
    pids = {line.split()[-1] for line in (lab.path / "calls").read_text().splitlines()}
    assert counts == {"baseline": 1, "search": 6, "confirm": 3}
    assert len(pids) == 2


def test_rungs_reach_the_pruner_and_a_pruned_trial_is_told_as_pruned(lab: Lab) -> None:
    spec = toy_study(
        sampler={"name": "random"},
        pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0},
        budget={"trials_per_method": 6, "confirm_seeds": 0},
    )

    events = lab.start(spec)

    pruned = [event.config for event in events if isinstance(event, TrialRung) and event.pruned]
    states = {name_of(trial.config) for trial in lab.ended() if trial.state == "PRUNED"}
    told = {
        f"search {method}/{t.number}" for method in spec.methods for t in lab.optuna(method) if t.state.name == "PRUNED"
    }
    assert pruned
    assert {name_of(config) for config in pruned} == states == told


def test_a_repeated_config_is_copied_and_not_run(lab: Lab) -> None:
    spec = random_study(
        search_space={RATE: {"values": [1e-4, 1e-3]}}, budget={"trials_per_method": 5, "confirm_seeds": 1}
    )

    events = lab.start(spec)

    assert Counter(call.split("/")[0] for call in lab.calls if call.startswith("search")) == {
        "search lora": 2,
        "search full": 2,
    }
    exhausted = {event.method: event.trials for event in events if isinstance(event, SpaceExhausted)}
    assert exhausted == {"lora": 2, "full": 2}
    for method in spec.methods:
        records = lab.run.search_records(method)
        assert all(trial.objective == records[trial.reused_from].objective for trial in records if trial.reused_from)
    assert lab.start(spec) == [StudyEnded("toy")]


def test_a_loss_that_is_no_number_can_be_written_and_read(lab: Lab) -> None:
    config = configure_baseline(random_study(), phase="baseline", data_root=lab.path)
    odd = make_record(config, value=math.inf, intermediate={1: math.nan})

    write_record(lab.run.baseline, odd)
    again = lab.run.baseline.read_record()

    assert again.evaluation == odd.evaluation
    assert math.isnan(again.intermediate[1])


def test_a_killed_worker_costs_one_trial_and_the_study_goes_on(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 3, "confirm_seeds": 0}), dies=("lora/1",))

    failed = [trial for trial in lab.ended() if trial.state == "FAIL"]
    assert [name_of(trial.config) for trial in failed] == ["search lora/1"]
    assert failed[0].failure is not None
    assert failed[0].failure.kind == "worker_died"
    assert [trial.state.name for trial in lab.optuna("lora")] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert lab.calls.count("search lora/1") == 2, "a death may be bad luck, once"


def test_a_segmentation_fault_in_a_worker_costs_one_trial_and_says_so(lab: Lab) -> None:
    budget = {"trials_per_method": 2, "confirm_seeds": 0}
    lab.start(random_study(budget=budget), dies=("lora/1",), dies_of=signal.SIGSEGV)

    records = lab.run.search_records("lora")
    assert [record.state for record in records] == ["COMPLETE", "FAIL"]
    assert records[1].failure.message.startswith("The worker process was ended by SIGSEGV.")


def test_a_trial_that_diverges_is_none_to_go_on_with_and_the_search_learns_of_it(lab: Lab) -> None:
    lab.start(random_study(), diverged=("lora/2", "full/0"))

    failures = {name_of(trial.config): trial.failure.kind for trial in lab.ended() if trial.failure}
    assert failures == {"search lora/2": "diverged", "search full/0": "diverged"}
    told = lab.optuna("lora")
    assert [trial.constraints[FEASIBLE] > 0 for trial in told] == [False, False, True]
    assert told[2].value >= max(trial.value for trial in told)
    for method, number in (("lora", 2), ("full", 0)):
        params = lab.run.search_records(method)[number].config.params
        assert lab.run.confirm_records(method)[0].state == "COMPLETE"
        assert lab.run.confirm_records(method)[0].config.params != params


def test_data_whose_worker_dies_are_prepared_once_more(lab: Lab) -> None:
    events = lab.start(random_study(), prepare_dies=lab.path / "died")

    told = [event.message for event in events if isinstance(event, Notice)]
    assert len(told) == 1
    assert told[0].startswith("The data are prepared once more: The worker process was killed (SIGKILL)")
    assert {record.state for record in lab.ended()} == {"COMPLETE"}


def test_a_repetition_whose_worker_died_is_run_again_by_the_next_run(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 1, "confirm_seeds": 1})
    lab.start(spec, dies=("lora/1",))
    assert lab.run.confirm_records("lora")[0].state == "FAIL"

    lab.start(spec)

    assert lab.run.confirm_records("lora")[0].state == "COMPLETE"
    assert Counter(lab.calls)["confirm lora/1"] == 3
    assert max(count for name, count in Counter(lab.calls).items() if name != "confirm lora/1") == 1


def test_a_bug_in_a_trial_is_recorded_with_its_traceback(lab: Lab) -> None:
    lab.start(random_study(), crashes=("full/0",))

    crashed = lab.run.search_records("full")[0]
    assert crashed.failure is not None
    assert crashed.failure.kind == "error"
    assert "nobody expected this" in (crashed.failure.traceback or "")


def test_a_trial_interrupted_in_its_worker_is_tried_again_and_then_given_up(lab: Lab) -> None:
    events = lab.start(random_study(), interrupted=("lora/0",))

    assert lab.calls.count("search lora/0") == 3
    assert sum(isinstance(event, Notice) for event in events) == 2
    assert {trial.state.name for trial in lab.optuna("lora")} == {"FAIL", "COMPLETE"}


def test_what_the_user_has_to_mend_is_raised_as_what_it_is(lab: Lab) -> None:
    with pytest.raises(TaskError, match="no such task here"):
        lab.start(random_study(), refuses=("lora/0",))

    assert lab.tracker.heard[-1] == "FAILED"


def test_an_objective_that_is_not_scored_is_named_before_any_trial(lab: Lab) -> None:
    with pytest.raises(RunError, match=r"own/loss was not scored\. Metrics there are: own/other\."):
        lab.start(random_study(), metric="own/other")

    assert lab.calls == ["baseline None/0"]


def test_a_base_model_that_could_not_be_scored_is_tried_again(lab: Lab) -> None:
    with pytest.raises(RunError, match="base model"):
        lab.start(random_study(), dies=("None/0",))

    lab.start(random_study())

    assert lab.run.baseline.read_record().state == "COMPLETE"


def test_a_method_without_a_complete_trial_is_reported_and_left_out(lab: Lab) -> None:
    events = lab.start(random_study(), crashes=("full/0", "full/1", "full/2"))

    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert re.search(r"^full: no trial completed \(3 error; last: ZeroDivisionError", notices[0])
    assert [call for call in lab.calls if call.startswith("confirm")] == ["confirm None/0", "confirm lora/1"]


def test_a_study_in_which_nothing_completed_has_failed(lab: Lab) -> None:
    with pytest.raises(StudyFailedError, match=r"no trial of any method completed.*out_of_memory.*\.$"):
        lab.start(random_study(), out_of_memory_above=0.0)


def crowded(rank: int) -> Facts:
    """A device on which a LoRA adapter of this rank just cannot fit."""
    shape, rows = llama_shape(), RowLengths(rows=8, tokens=80, longest=10, learned=40)
    lora = PeftSpec(lora_r=rank)
    method = MethodSpec(kind="lora", peft=lora, training=TrainingSpec())
    least = estimate(ModelSpec(model_name_or_path="toy"), method, shape, rows, "cpu").peak.low
    return Facts(shape, Device("Toy 9000", "cpu", int(least) - 1, int(least)), {"train": rows})


def test_a_config_that_cannot_fit_is_not_run_and_is_replaced_by_one_that_may(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 4, "confirm_seeds": 0}), facts=crowded(32))

    ended = lab.run.search_records("lora")
    refused = [trial for trial in ended if not trial.was_run]
    assert refused
    assert {trial.config.method_spec.peft.lora_r for trial in refused} == {32}
    assert all(re.search(r"at least .* GB, and Toy 9000 has", trial.failure.message) for trial in refused)
    run = [call for call in lab.calls if call.startswith("search lora")]
    assert len(run) == 4
    assert not {f"search lora/{trial.config.number}" for trial in refused} & set(run)


def test_what_fits_a_larger_machine_is_tried_once_one_has_joined(lab: Lab) -> None:
    class Joined(LocalPool):
        def largest(self, facts: Facts) -> Facts:
            if sum(call.startswith("search lora") for call in lab.calls) < 2:
                return facts
            return dataclasses.replace(facts, device=Device("Toy 9000 XL", "cpu", 10**12, 10**12))

    build = partial(build_toy, ToyRunner(lab.path / "calls", facts=crowded(32)))
    workers = Workers(build, cluster=lambda run, _: Joined(build, logs=run.path))
    only = {"lora": toy_study().methods["lora"].model_dump()}
    spec = random_study(methods=only, budget={"trials_per_method": 8, "confirm_seeds": 0})
    run_study(spec, run=lab.run, data_root=lab.path, cache=lab.path, on_event=lab.events.append, workers=workers)

    large = [trial for trial in lab.run.search_records("lora") if trial.config.method_spec.peft.lora_r == 32]
    assert any(trial.was_run for trial in large)
    run = {int(call.rsplit("/", 1)[1]) for call in lab.calls if call.startswith("search lora")}
    assert all(sum(number < trial.config.number for number in run) <= 2 for trial in large if not trial.was_run)


def test_a_study_in_which_no_config_fits_says_so_and_what_would_help(lab: Lab) -> None:
    facts = crowded(8)
    tiny = dataclasses.replace(facts, device=Device("Toy 9000", "cpu", 10, 10))

    with pytest.raises(StudyFailedError, match=r"lora: 50 infeasible; last: This config needs at least .* has 0\.0 GB"):
        lab.start(random_study(), facts=tiny)

    assert lab.calls == ["baseline None/0"]


def test_a_space_that_cannot_be_searched_is_refused_before_anything_runs(lab: Lab) -> None:
    with pytest.raises(InputError, match="grid"):
        lab.start(random_study(sampler={"name": "grid"}))

    assert not lab.run.study_file.exists()
