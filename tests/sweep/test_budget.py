"""What trials cost, and when a budget in trials, tokens or hours is spent."""

from pathlib import Path

import pytest
from toy_runner import record, toy_study

from sweep.budget import (
    Spending,
    describe,
    foreseen,
    is_spent,
    progress,
    seconds_left,
    share_spent,
    spending_of,
    total,
    trials_left,
)
from sweep.config import configure
from sweep.easing import Easing
from sweep.record import DeviceUse, TrialRecord
from sweep.spec import BudgetSpec

TRAINING = {
    "optimizer_steps": 1,
    "train_loss": 1.0,
    "validation_loss": 1.0,
    "tokens": 700,
    "tokens_per_second": 1.0,
    "trainable_parameters": 10,
    "total_parameters": 1000,
    "checkpoint_bytes": 1,
    "initial_sha256": "",
    "final_sha256": "",
    "optim": "adamw_torch",
}


def trial(state: str = "COMPLETE", **changes: object) -> TrialRecord:
    config = configure(toy_study(), "lora", {}, phase="search", number=0, seed=0, data_root=Path("/data"))
    made = record(config, state=state, kind="diverged" if state == "FAIL" else None)
    return TrialRecord.model_validate({**made.model_dump(), "tokens": 500, "seconds_total": 60.0, **changes})


@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED", "FAIL"])
def test_a_trial_costs_what_it_took_however_it_ended(state: str) -> None:
    assert spending_of(trial(state)) == Spending(1, 500, 60.0)


def test_a_repeated_config_costs_nothing_though_its_record_tells_what_the_first_one_took() -> None:
    assert spending_of(trial(reused_from=3, training=TRAINING)) == Spending()


def test_time_counts_once_for_each_device_that_was_held() -> None:
    held = trial(device=DeviceUse(kind="cuda", name="Toy", count=4))

    assert spending_of(held).device_seconds == 240.0


def test_seconds_of_starts_that_ran_out_of_memory_count() -> None:
    held = trial(device=DeviceUse(kind="cuda", name="Toy", count=2), easing=Easing(lanes=1, lost_seconds=15.0))

    assert spending_of(held) == Spending(1, 500, 150.0)


def test_records_of_older_versions_tell_their_tokens_by_their_training() -> None:
    assert spending_of(trial(tokens=None, training=TRAINING)).tokens == 700
    assert spending_of(trial(tokens=None)).tokens == 0
    assert total([trial(), trial("PRUNED")]) == Spending(2, 1000, 120.0)


BOUNDS = {
    "trials": (BudgetSpec(trials_per_method=4), Spending(3, 10**9, 10**9), Spending(4, 0, 0)),
    "tokens": (BudgetSpec(tokens_per_method=1000), Spending(99, 999, 10**9), Spending(1, 1000, 0)),
    "hours": (BudgetSpec(device_hours_per_method=0.5), Spending(99, 10**9, 1799.0), Spending(1, 0, 1800.0)),
    "whichever comes first": (
        BudgetSpec(trials_per_method=4, tokens_per_method=1000),
        Spending(3, 999, 10**9),
        Spending(1, 2000, 0),
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_budget_is_spent_when_the_first_of_its_bounds_is_reached(name: str) -> None:
    budget, within, beyond = BOUNDS[name]

    assert not is_spent(budget, within)
    assert share_spent(budget, within) < 1
    assert is_spent(budget, beyond)
    assert share_spent(budget, beyond) >= 1


def test_twelve_trials_bound_a_search_only_where_nothing_else_is_said() -> None:
    assert BudgetSpec().trials_per_method == 12
    assert BudgetSpec(tokens_per_method=5).trials_per_method is None
    assert BudgetSpec(device_hours_per_method=5).trials_per_method is None
    assert BudgetSpec(tokens_per_method=5, trials_per_method=12).trials_per_method == 12
    again = BudgetSpec.model_validate_json(BudgetSpec(tokens_per_method=5).model_dump_json())
    assert again.trials_per_method is None


def test_trials_that_run_are_counted_as_the_ended_ones_were_on_average() -> None:
    assert foreseen(Spending(2, 600, 30.0), running=3) == Spending(5, 1500, 75.0)
    assert foreseen(Spending(), running=3) == Spending(3, 0, 0.0)


def test_what_is_left_takes_as_long_as_what_was_spent_did() -> None:
    spent = Spending(2, 600, 30.0)

    assert seconds_left(BudgetSpec(trials_per_method=6), spent) == pytest.approx(60.0)
    assert seconds_left(BudgetSpec(tokens_per_method=900), spent) == pytest.approx(15.0)
    assert seconds_left(BudgetSpec(device_hours_per_method=0.01), spent) == pytest.approx(6.0)
    assert seconds_left(BudgetSpec(trials_per_method=6, tokens_per_method=900), spent) == pytest.approx(15.0)
    assert seconds_left(BudgetSpec(trials_per_method=2), spent) == 0.0
    assert seconds_left(BudgetSpec(), Spending()) is None
    assert seconds_left(BudgetSpec(tokens_per_method=900), Spending(1, 0, 3.0)) is None
    assert trials_left(BudgetSpec(trials_per_method=6), spent) == 4
    assert trials_left(BudgetSpec(tokens_per_method=6), spent) is None


@pytest.mark.parametrize(
    ("budget", "described", "shown"),
    [
        (BudgetSpec(trials_per_method=12), "12 trials", "3 of 12 trials"),
        (BudgetSpec(trials_per_method=1), "1 trial", "3 of 1 trial"),
        (BudgetSpec(tokens_per_method=2_000_000), "2,000,000 training tokens", "3 trials, 4,500 of 2,000,000 training"),
        (BudgetSpec(device_hours_per_method=1.5), "1.5 device hours", "3 trials, 0.25 of 1.5 device hours"),
        (
            BudgetSpec(trials_per_method=5, device_hours_per_method=2),
            "5 trials or 2 device hours",
            "3 of 5 trials, 0.25 of 2 device hours",
        ),
        (BudgetSpec(trials_per_method=None), "every config of its space", "3 trials"),
    ],
)
def test_a_budget_is_told_in_its_own_units(budget: BudgetSpec, described: str, shown: str) -> None:
    assert describe(budget) == described
    assert progress(budget, Spending(3, 4_500, 900.0)).startswith(shown)
