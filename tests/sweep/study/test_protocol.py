"""A study's protocol in real worker processes: budgets in other units, and how often the test data are opened."""

import json
from collections import Counter
from pathlib import Path

import pytest
from lab import Lab, random_study
from toy_runner import RATE

from sweep.budget import total
from sweep.events import PhaseStarted
from sweep.openings import read_openings
from sweep.status import read_status
from sweep.store import TrialDirectory, trained_tokens
from sweep.study.resume import differences

DEAR = (("lora", 100), ("full", 250))
SLOW = (("lora", 10.0), ("full", 25.0))


def spent(lab: Lab) -> dict[str, int]:
    return {method: total(lab.run.search_records(method)).trials for method in ("lora", "full")}


def test_a_budget_of_tokens_gives_each_method_as_many_and_no_trial_begins_once_it_is_spent(lab: Lab) -> None:
    events = lab.start(random_study(budget={"tokens_per_method": 500, "confirm_seeds": 0}), tokens=DEAR)

    assert spent(lab) == {"lora": 5, "full": 2}
    assert [event.trials for event in events if isinstance(event, PhaseStarted)] == [1, None]
    # Each time the method that had the smaller share of its budget.
    assert lab.calls[1:] == [
        *("search lora/0", "search full/0", "search lora/1", "search lora/2", "search full/1"),
        *("search lora/3", "search lora/4"),
    ]


def test_a_trial_in_flight_when_the_budget_ends_is_finished(lab: Lab) -> None:
    lab.start(random_study(budget={"tokens_per_method": 301, "confirm_seeds": 0}), tokens=DEAR)

    assert spent(lab) == {"lora": 4, "full": 2}
    assert {trial.state for trial in lab.ended()} == {"COMPLETE"}


def test_a_budget_of_device_hours_counts_all_that_a_trial_took(lab: Lab) -> None:
    lab.start(random_study(budget={"device_hours_per_method": 0.75, "confirm_seeds": 0}), minutes=SLOW)

    assert spent(lab) == {"lora": 5, "full": 2}
    status = read_status(lab.run)
    assert status.phase == "done"
    assert status.seconds_left == 0.0


def test_of_several_bounds_the_first_that_is_reached_ends_the_search(lab: Lab) -> None:
    budget = {"trials_per_method": 3, "tokens_per_method": 500, "confirm_seeds": 0}

    lab.start(random_study(budget=budget), tokens=DEAR)

    assert spent(lab) == {"lora": 3, "full": 2}


def test_what_failed_trials_took_counts_and_what_is_copied_does_not(lab: Lab) -> None:
    spec = random_study(
        search_space={RATE: {"values": [1e-4, 1e-2]}}, budget={"tokens_per_method": 1000, "confirm_seeds": 0}
    )

    lab.start(spec, tokens=DEAR, out_of_memory_above=1e-3)

    # Both configs of the space, one of them out of memory; all further proposals are copies.
    assert spent(lab) == {"lora": 2, "full": 2}
    assert Counter(record.state for record in lab.run.search_records("lora") if record.reused_from is None) == {
        "COMPLETE": 1,
        "FAIL": 1,
    }
    assert total(lab.run.search_records("lora")).tokens == 200


def test_two_workers_do_not_begin_more_trials_than_the_budget_will_probably_hold(lab: Lab) -> None:
    budget = {"tokens_per_method": 300, "confirm_seeds": 0}

    lab.start(random_study(budget=budget), devices=(None, None), tokens=DEAR, seconds=0.1)

    assert spent(lab) == {"lora": 3, "full": 2}


def test_a_trial_whose_worker_died_has_cost_the_tokens_that_its_steps_tell(tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path)
    assert trained_tokens(directory) == 0
    lines = [json.dumps({"step": 1, "tokens": 60}), json.dumps({"step": 1, "validation_loss": 2.0}), '{"step": 2, "to']
    directory.steps.write_text("\n".join(lines))

    assert trained_tokens(directory) == 60


def test_a_larger_budget_of_any_kind_may_be_given_later_and_a_smaller_one_may_not(lab: Lab) -> None:
    def study(**budget: object) -> object:
        return random_study(budget={"confirm_seeds": 0, **budget})

    lab.start(study(tokens_per_method=200), tokens=DEAR)
    lab.start(study(tokens_per_method=400), tokens=DEAR)
    assert spent(lab) == {"lora": 4, "full": 2}

    for smaller, larger in (
        ({"tokens_per_method": 5}, {"tokens_per_method": 6}),
        ({"device_hours_per_method": 0.5}, {"device_hours_per_method": 1.5}),
        ({"trials_per_method": 3, "tokens_per_method": 5}, {"trials_per_method": None, "tokens_per_method": 5}),
    ):
        assert differences(study(**smaller), study(**larger)) == []
        assert differences(study(**larger), study(**smaller)) != []


def test_every_opening_of_the_test_data_is_on_disk_before_the_trial_begins(lab: Lab) -> None:
    spec = random_study(budget={"trials_per_method": 1, "confirm_seeds": 2})

    lab.start(spec, dies=("full/2",))

    openings = read_openings(lab.run)
    # A trial whose worker died is started once more, and the rows are opened for it once more.
    assert [opening.who for opening in openings] == [
        *("base model", "lora seed 1", "full seed 1", "lora seed 2", "full seed 2", "full seed 2"),
    ]
    assert {opening.tasks for opening in openings} == {("own",)}
    searched = [record.started_at for method in spec.methods for record in lab.run.search_records(method)]
    assert max(searched) < openings[0].at
    # The last one was opened once more, because its worker had died.
    for opening, record in zip([*openings[:4], openings[5]], lab.ended()[-5:], strict=True):
        assert opening.at <= record.started_at

    # The repetition whose worker died is scored again, and that counts again.
    lab.start(spec)

    assert [opening.who for opening in read_openings(lab.run)][6:] == ["full seed 2"]
    assert read_status(lab.run).openings == read_openings(lab.run)


def test_a_study_that_confirms_nothing_opens_no_test_data(lab: Lab) -> None:
    lab.start(random_study(budget={"trials_per_method": 1, "confirm_seeds": 0}))

    assert not lab.run.test_openings.exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_all_methods_are_confirmed_on_the_same_fresh_seeds(lab: Lab, method: str) -> None:
    lab.start(random_study(budget={"trials_per_method": 2, "confirm_seeds": 3}, seed=5))

    seeds = [record.config.seed for record in lab.run.confirm_records(method)]
    assert seeds == [1006, 1007, 1008]
    assert not set(seeds) & {record.config.seed for record in lab.run.search_records(method)}
