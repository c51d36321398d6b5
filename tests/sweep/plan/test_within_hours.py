"""How many trials a budget in device hours holds, against a search that is spent hour by hour."""

import pytest

from sweep.budget import SECONDS_PER_HOUR, Spending, is_spent
from sweep.plan.ranges import Range
from sweep.plan.result import PhaseHours, PhaseWork, ScoringWork
from sweep.plan.within_hours import trials_within, within_hours
from sweep.spec import BudgetSpec

EACH = Range(1_000, 2_000, 5_000)
"""Tokens of a trial."""
TOKENS_PER_HOUR = 4_000
SCORING = ScoringWork({"own": 10})


def work_of(trials: int) -> PhaseWork:
    count = Range.exactly(trials)
    return PhaseWork("search", "lora", count, Range(5, 10, 25), EACH, EACH * trials, count * 100, count, SCORING)


def hours_of(work: PhaseWork) -> PhaseHours:
    """Nothing takes time but training."""
    tokens = work.train_tokens
    return PhaseHours("search", "lora", None if tokens is None else tokens * (1 / TOKENS_PER_HOUR))


def untimed(work: PhaseWork) -> PhaseHours:
    return PhaseHours("search", "lora", None, tuple(work.scoring.items))


ENDLESS = PhaseWork("search", "lora", None, Range(5, 10, 25), EACH, None, None, None, SCORING)


@pytest.mark.parametrize("hours", [0.1, 0.5, 0.51, 3, 6.4, 100])
@pytest.mark.parametrize("trial_hours", [0.25, 0.5, 7.0])
def test_as_many_trials_begin_as_the_search_itself_would_begin(hours: float, trial_hours: float) -> None:
    budget, spent = BudgetSpec.model_validate({"device_hours_per_method": hours}), Spending()
    while not is_spent(budget, spent):
        spent += Spending(trials=1, device_seconds=trial_hours * SECONDS_PER_HOUR)

    assert trials_within(hours, lambda trials: trials * trial_hours, None) == spent.trials
    assert trials_within(hours, lambda trials: trials * trial_hours, 3) == min(3, spent.trials)


def test_dear_trials_are_few_and_cheap_ones_many() -> None:
    work, time = within_hours(ENDLESS, 10.0, work_of=work_of, hours_of=hours_of)

    # A trial takes 0.25, 0.5 or 1.25 hours.
    assert work.trials == Range(8, 20, 40)
    assert work.train_tokens == Range.exactly(40_000)
    assert work.validation_tokens == Range(800, 2_000, 4_000)
    assert (work.steps, work.trial_tokens) == (ENDLESS.steps, EACH)
    assert time.hours == Range.exactly(10)


def test_the_trial_that_crosses_the_bound_is_finished() -> None:
    work, time = within_hours(ENDLESS, 1.1, work_of=work_of, hours_of=hours_of)

    assert work.trials == Range(1, 3, 5)
    # One of 1.25 hours, three of 0.5, five of 0.25.
    assert time.hours == Range(1.25, 1.25, 1.25)


@pytest.mark.parametrize(("trials", "expected"), [(4, Range(4, 4, 4)), (10, Range(8, 10, 10)), (30, Range(8, 20, 30))])
def test_another_bound_may_be_reached_before(trials: int, expected: Range) -> None:
    work, time = within_hours(work_of(trials), 10.0, work_of=work_of, hours_of=hours_of)

    assert work.trials == expected
    assert time.hours is not None
    assert time.hours.low == min(10.0, trials * 0.25)


def test_what_is_not_bound_by_its_hours_is_left_as_it_is() -> None:
    whole = work_of(4)

    assert within_hours(whole, 5.0, work_of=work_of, hours_of=hours_of) == (whole, hours_of(whole))
    assert within_hours(whole, 3.7, work_of=work_of, hours_of=hours_of)[0].trials == Range(3, 4, 4)


def test_without_a_speed_the_hours_are_known_and_the_trials_are_not() -> None:
    work, time = within_hours(ENDLESS, 10.0, work_of=work_of, hours_of=untimed)

    assert work == ENDLESS
    assert time == PhaseHours("search", "lora", Range.exactly(10.0), ("own",))


def test_without_a_speed_another_bound_still_tells_the_most() -> None:
    work, time = within_hours(work_of(12), 10.0, work_of=work_of, hours_of=untimed)

    assert work.trials == Range(1, 12, 12)
    assert work.train_tokens == Range(1_000, 24_000, 60_000)
    assert time.hours is None
