"""Trials that share a base model run together, in real worker processes: who beside whom, and what a death costs."""

from collections import Counter

from lab import Lab, random_study
from shapes import llama_shape
from toy_runner import RATE, toy_study

from sweep.events import Notice, StudyEnded, TrialRung
from sweep.shape import Device, Facts, RowLengths

GIGABYTE = 10**9
CPU = Device("a CPU", "cpu", memory_bytes=64 * GIGABYTE, free_bytes=60 * GIGABYTE)
ROWS = RowLengths(rows=8, tokens=80, longest=20, learned=40)
FACTS = Facts(llama_shape(), CPU, {"train": ROWS})


def groups(lab: Lab) -> list[str]:
    lines = (lab.path / "calls").read_text().splitlines()
    return [line for line in lines if line.startswith("together")]


def test_adapter_trials_run_together_and_full_fine_tuning_alone(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 4, "confirm_seeds": 3}, lanes=2)

    lab.start(spec, facts=FACTS)

    ran = Counter(call.partition("/")[0] for call in lab.calls if not call.startswith("together"))
    assert (ran.pop("baseline None"), ran.pop("confirm None")) == (1, 1)
    assert ran == {"search lora": 4, "search full": 4, "confirm lora": 3, "confirm full": 3}
    assert set(groups(lab)) == {"together 2 of 2"}
    assert [trial.config.number for trial in lab.run.search_records("lora")] == [0, 1, 2, 3]


def test_one_lane_means_alone(lab: Lab) -> None:
    lab.start(random_study(lanes=1), facts=FACTS)

    assert groups(lab) == []


def test_trials_whose_rungs_lie_at_equal_rows_run_together_too(lab: Lab) -> None:
    spec = random_study(search_space={"training.num_train_epochs": {"min": 1.0, "max": 3.0}}, lanes=4)

    events = lab.start(spec, facts=FACTS)

    assert "together 3 of 4" in groups(lab)
    # Nothing is pruned, so there is no loss to be unfair.
    assert not any(isinstance(event, Notice) for event in events)


def test_the_number_of_lanes_may_change_when_a_study_goes_on(lab: Lab) -> None:
    lab.start(random_study(lanes=1), facts=FACTS)

    assert lab.start(random_study(lanes=4), facts=FACTS) == [StudyEnded("toy")]


def test_a_finalists_first_seed_has_the_device_to_itself_and_the_others_share_it(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 4}), facts=FACTS)

    calls = (lab.path / "calls").read_text().splitlines()
    shared = calls.index("together 3 of 8")
    assert any(line.startswith("confirm lora/1 ") for line in calls[:shared])
    assert [line.split()[1] for line in calls[shared + 1 : shared + 4]] == ["lora/2", "lora/3", "lora/4"]


def test_a_search_that_learns_asks_for_a_quarter_of_its_budget_at_once(lab: Lab) -> None:
    spec = toy_study(sampler={"name": "tpe"}, budget={"trials_per_method": 12, "confirm_seeds": 0})

    lab.start(spec, facts=FACTS)

    assert "together 3 of 3" in groups(lab)
    assert len(lab.run.search_records("lora")) == 12


def test_no_method_comes_far_ahead_while_its_trials_refill_their_seats(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 12, "confirm_seeds": 0}, lanes=2), facts=FACTS)

    ahead, most = 0, 0
    for call in lab.calls:
        if call.startswith("search"):
            ahead += 1 if "lora" in call else -1
            most = max(most, ahead)
    assert 2 <= most <= 5


def test_rungs_of_trials_that_run_together_reach_the_pruner(lab: Lab) -> None:
    spec = random_study(
        pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0},
        budget={"trials_per_method": 6, "confirm_seeds": 0},
        lanes=3,
    )

    events = lab.start(spec, facts=FACTS)

    pruned = {e.config.number for e in events if isinstance(e, TrialRung) and e.pruned and e.config.method == "lora"}
    assert pruned == {r.config.number for r in lab.run.search_records("lora") if r.state == "PRUNED"}
    assert pruned


def test_a_repeated_config_among_trials_that_run_together_is_copied(lab: Lab) -> None:
    spec = random_study(
        search_space={RATE: {"values": [1e-4, 1e-3]}}, budget={"trials_per_method": 5, "confirm_seeds": 0}, lanes=4
    )

    lab.start(spec, facts=FACTS)

    assert sum(call.startswith("search lora") for call in lab.calls) == 2


def test_a_worker_that_dies_costs_no_trial_that_ran_beside_the_one_that_killed_it(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 4, "confirm_seeds": 0}, lanes=4)

    events = lab.start(spec, facts=FACTS, dies=("lora/1",))

    states = {record.config.number: record.state for record in lab.run.search_records("lora")}
    assert states == {0: "COMPLETE", 1: "FAIL", 2: "COMPLETE", 3: "COMPLETE"}
    assert lab.run.search_records("lora")[1].failure.kind == "worker_died"
    notices = [event.message for event in events if isinstance(event, Notice) and "by itself" in event.message]
    assert len(notices) == 3
    # What had ended before the death is not run again.
    assert Counter(call for call in lab.calls if "lora" in call)["search lora/0"] == 1


def test_no_more_trials_run_together_than_the_device_holds(lab: Lab) -> None:
    small = Device("a small CPU", "cpu", memory_bytes=64 * GIGABYTE, free_bytes=1)

    lab.start(random_study(lanes=4), facts=Facts(llama_shape(), small, {"train": ROWS}))

    assert groups(lab) == []
