"""Successive halving and Hyperband by reported losses: Optuna's rules, without what Optuna forgets."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from bench import Bench, complete
from toy_runner import record

from sweep.record import TrialRecord
from sweep.search.halving import HalvingPruner, HyperbandPruner
from sweep.search.method_search import Proposal


def pruned_by(
    pruner: optuna.pruners.BasePruner, curves: np.ndarray, direction: str, name: str | None = None
) -> list[tuple[int, int]]:
    """Who is ended where, of trials that all run at once and report in turn."""
    study = optuna.create_study(study_name=name, direction=direction, pruner=pruner)
    running = dict(enumerate(study.ask() for _ in curves))
    ended = []
    for step in range(1, curves.shape[1] + 1):
        for number, trial in list(running.items()):
            trial.report(float(curves[number, step - 1]), step)
            if trial.should_prune():
                study.tell(running.pop(number), state=optuna.trial.TrialState.PRUNED)
                ended.append((number, step))
    return ended


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(5))
def test_concurrent_trials_are_ended_where_optuna_ends_them(direction: str, seed: int) -> None:
    curves = np.random.default_rng(seed).normal(size=(20, 9))
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)

    ended = pruned_by(HalvingPruner(3), curves, direction)

    assert ended
    assert ended == pruned_by(theirs, curves, direction)


def test_a_trial_that_is_run_again_is_judged_again(bench: Callable[..., Bench]) -> None:
    here = bench(pruner={"name": "successive_halving", "spared_share": 0.0}, sampler={"name": "random"})
    search = here.open()
    first, second = search.ask(), search.ask()
    assert first is not None
    assert second is not None
    assert not search.report(first.config.number, 1, 2.0)
    assert not search.report(second.config.number, 1, 1.0)

    search.put_back(first.config)
    again = search.ask()

    assert again is not None
    assert again.config == first.config
    assert search.report(again.config.number, 1, 2.0)


def test_a_trial_reports_late_and_is_judged_at_the_rung_it_passed() -> None:
    study = optuna.create_study(pruner=HalvingPruner(3))
    good, bad = study.ask(), study.ask()
    good.report(1.0, 3)
    bad.report(2.0, 4)

    assert not good.should_prune()
    assert bad.should_prune()


def test_losses_that_were_added_to_a_storage_count() -> None:
    study = optuna.create_study(pruner=HalvingPruner(3))
    study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values={1: 1.0, 2: 1.0}))
    bad = study.ask()
    bad.report(2.0, 1)

    assert bad.should_prune()


def test_a_trials_end_is_compared_with_none() -> None:
    # Four of five trials are short: their schedule has run down where the fifth has its first rung.
    study = optuna.create_study(pruner=HalvingPruner(3, last=4))
    for _ in range(4):
        study.add_trial(optuna.trial.create_trial(value=0.1, intermediate_values={4: 0.1}))
    long = study.ask()
    for step in (1, 3):
        long.report(2.0, step)
        assert not long.should_prune()

    worse = study.ask()
    worse.report(3.0, 1)
    assert worse.should_prune()
    worse.report(3.0, 4)
    assert not worse.should_prune()


@pytest.mark.parametrize(("factor", "last", "brackets"), [(3, 1, 1), (3, 4, 2), (3, 9, 3), (3, 27, 4), (2, 7, 3)])
def test_brackets_are_those_of_optuna_in_number_and_in_proportion(factor: int, last: int, brackets: int) -> None:
    theirs = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=last, reduction_factor=factor)
    theirs._try_initialization(optuna.create_study())
    counted = Counter(HyperbandPruner(factor, last=last).bracket_of("toy/lora", number) for number in range(20_000))

    weights = theirs._trial_allocation_budgets
    assert len(weights) == len(counted) == brackets
    for bracket, weight in enumerate(weights):
        assert counted[bracket] / 20_000 == pytest.approx(weight / sum(weights), abs=0.015)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(3))
def test_hyperband_is_a_halving_in_each_bracket(direction: str, seed: int) -> None:
    curves = np.random.default_rng(seed).normal(size=(40, 9))
    pruner = HyperbandPruner(3, last=10)
    name = optuna.create_study(direction=direction).study_name
    ended = pruned_by(pruner, curves, direction, name=name)

    expected = []
    for bracket in range(3):
        members = [number for number in range(40) if pruner.bracket_of(name, number) == bracket]
        theirs = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=3, min_early_stopping_rate=bracket
        )
        expected += [(members[place], step) for place, step in pruned_by(theirs, curves[members], direction)]
    assert ended
    assert sorted(ended) == sorted(expected)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "qmc"])
def test_under_hyperband_a_sampler_learns_from_every_trial(bench: Callable[..., Bench], sampler: str) -> None:
    changes = {"sampler": {"name": sampler, "n_startup_trials": 3}, "budget": {"trials_per_method": 8}}

    def outcome(proposal: Proposal) -> TrialRecord:
        if proposal.config.number % 3 == 2:
            return record(proposal.config, state="PRUNED", intermediate={1: 4.0 + proposal.config.number})
        return complete(proposal)

    def proposed(here: Bench) -> list[dict[str, object]]:
        return [dict(trial.config.params) for trial in here.drive(here.open(), outcome)]

    # With the same outcomes it proposes what it does without a pruner. Optuna's Hyperband hides other brackets from it.
    assert proposed(bench("one", pruner={"name": "hyperband"}, **changes)) == proposed(
        bench("other", pruner={"name": "none"}, **changes)
    )
