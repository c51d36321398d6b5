"""Successive halving by reported losses: Optuna's rule, without what Optuna forgets."""

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from bench import Bench

from sweep.search.halving import HalvingPruner


def pruned_by(pruner: optuna.pruners.BasePruner, curves: np.ndarray, direction: str) -> list[tuple[int, int]]:
    """Who is ended where, of trials that all run at once and report in turn."""
    study = optuna.create_study(direction=direction, pruner=pruner)
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
    here = bench(pruner={"name": "successive_halving"}, sampler={"name": "random"})
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
