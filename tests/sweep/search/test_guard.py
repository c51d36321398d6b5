"""Late bloomers: whom the guard keeps although the pruner would end them, and whom it does not."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import optuna
import pytest
from bench import Bench, complete
from optuna.trial import FrozenTrial, TrialState
from toy_runner import RATE, record

from sweep.rungs import Stretch
from sweep.search.guard import GuardedPruner, extrapolate
from sweep.search.samplers import build_pruner
from sweep.spec import PrunerSpec

END = 8


class EndsAll(optuna.pruners.BasePruner):
    """A pruner without mercy, so that whoever goes on was kept by the guard."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        del study, trial
        return True


def guarded(
    spared: float = 0.0, stretches: Mapping[int, Stretch] | None = None, pruner: optuna.pruners.BasePruner | None = None
) -> GuardedPruner:
    whole = Stretch(0.0, END)
    return GuardedPruner(
        pruner or EndsAll(),
        spared_share=spared,
        stretch_of=lambda trial: (stretches or {}).get(trial.number, whole),
    )


def judged(
    pruner: GuardedPruner, losses: Mapping[int, float], *rivals: FrozenTrial, direction: str = "minimize"
) -> bool:
    """Whether a trial with these losses is ended beside others that ended before."""
    study = optuna.create_study(study_name="toy/lora", direction=direction, pruner=pruner)
    for rival in rivals:
        study.add_trial(rival)
    trial = study.ask()
    for rung, loss in losses.items():
        trial.report(loss, rung)
    return trial.should_prune()


def ended(losses: Mapping[int, float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    value = losses[max(losses)] if state == TrialState.COMPLETE else None
    return optuna.trial.create_trial(state=state, value=value, intermediate_values=dict(losses))


def power(start: float, exponent: float) -> dict[int, float]:
    return {rung: start * rung**-exponent for rung in range(1, END + 1)}


def upto(losses: Mapping[int, float], rung: int) -> dict[int, float]:
    return {step: loss for step, loss in losses.items() if step <= rung}


FAST, LATE = power(1.0, 0.1), power(1.6, 0.4)
"""They cross between rung 4 and 5."""


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_whose_curve_will_cross_the_leaders_is_kept(direction: str) -> None:
    sign = 1 if direction == "minimize" else -1

    def signed(losses: Mapping[int, float]) -> dict[int, float]:
        return {rung: sign * loss for rung, loss in losses.items()}

    assert LATE[4] > FAST[4]
    assert LATE[END] < FAST[END]
    for rung in (2, 3, 4):
        assert not judged(guarded(), signed(upto(LATE, rung)), ended(signed(FAST)), direction=direction)
        worse = upto(power(1.6, 0.2), rung)
        assert judged(guarded(), signed(worse), ended(signed(FAST)), direction=direction)


def test_one_rung_is_no_curve_so_the_pruner_is_believed() -> None:
    assert judged(guarded(), upto(LATE, 1), ended(FAST))


def test_a_shorter_trial_has_to_catch_up_sooner() -> None:
    at_once = {1: Stretch(0.0, 3.5)}

    assert not judged(guarded(), upto(LATE, 2), ended(FAST))
    assert judged(guarded(stretches=at_once), upto(LATE, 2), ended(FAST))


def test_the_leader_may_still_run_and_is_carried_on_as_well() -> None:
    study = optuna.create_study(study_name="toy/lora", pruner=guarded())
    leader, late, level = study.ask(), study.ask(), study.ask()
    for rung in (1, 2):
        leader.report(FAST[rung], rung)
        late.report(LATE[rung], rung)
        # Below what the leader has by now, but not below what it will have.
        level.report(FAST[rung] * 1.05, rung)

    assert level._get_latest_trial().intermediate_values[2] * (END / 2) ** -0.1 < FAST[2]
    assert not late.should_prune()
    assert level.should_prune()


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_what_was_ended_leads_nobody(state: TrialState) -> None:
    ended_low = ended({1: 0.1, 2: 0.05}, state)

    assert not judged(guarded(), upto(LATE, 2), ended(FAST), ended_low)


def test_without_anybody_to_catch_up_with_the_pruner_is_believed() -> None:
    assert judged(guarded(), upto(LATE, 2))


@pytest.mark.parametrize("losses", [{1: 2.0, 2: math.nan}, {1: math.nan, 2: 0.1}, {1: 1.0, 2: 1.1}, {1: 1.0, 2: 0.0}])
def test_what_is_no_falling_loss_catches_up_with_nobody(losses: dict[int, float]) -> None:
    assert judged(guarded(), losses, ended(FAST))


def test_no_trial_is_ended_within_its_own_warm_up() -> None:
    long_warm_up = {1: Stretch(2.0, END)}

    assert judged(guarded(), {1: 9.0, 2: 9.0}, ended(FAST))
    assert not judged(guarded(stretches=long_warm_up), {1: 9.0}, ended(FAST))
    assert not judged(guarded(stretches=long_warm_up), {1: 9.0, 2: 9.0}, ended(FAST))
    assert judged(guarded(stretches=long_warm_up), {1: 9.0, 2: 9.0, 3: 9.0}, ended(FAST))


def test_a_curve_begins_after_the_warm_up() -> None:
    long_warm_up = {1: Stretch(2.0, END)}

    # Steep as the rate rises, flat from then on.
    assert not judged(guarded(), {2: 9.0, 3: 2.0}, ended(FAST))
    assert judged(guarded(stretches=long_warm_up), {2: 9.0, 3: 2.0}, ended(FAST))
    assert judged(guarded(stretches=long_warm_up), {2: 9.0, 3: 2.0, 4: 1.99}, ended(FAST))


@pytest.mark.parametrize(("start", "exponent"), [(3.0, 0.3), (2.0, 0.05), (1.0, -0.2)])
def test_a_power_law_is_carried_on_exactly(start: float, exponent: float) -> None:
    curve = power(start, exponent)

    assert extrapolate(upto(curve, 3), END) == pytest.approx(curve[END])
    assert extrapolate({1: 99.0, 3: curve[3], 5: curve[5]}, END) == pytest.approx(curve[END])
    assert extrapolate(upto(curve, 1), END) is None
    # A trial that has come past its end stays where it is.
    assert extrapolate(upto(curve, 3), 2.5) == pytest.approx(curve[3])


def test_with_an_irreducible_loss_the_law_promises_too_much_rather_than_too_little() -> None:
    floors = np.linspace(0.0, 2.0, 9)

    for floor in floors:
        curve = {rung: floor + 1.0 * rung**-0.5 for rung in range(1, END + 1)}
        for rung in (2, 4, 6):
            assert extrapolate(upto(curve, rung), END) <= curve[END] + 1e-12


def test_about_the_asked_share_always_runs_to_its_end_and_always_the_same_trials() -> None:
    pruner = guarded(spared=0.1)
    spared = {number for number in range(2000) if pruner.is_spared("toy/lora", number)}

    assert 150 <= len(spared) <= 250
    assert spared == {number for number in range(2000) if guarded(spared=0.1).is_spared("toy/lora", number)}
    assert spared != {number for number in range(2000) if pruner.is_spared("toy/full", number)}
    # More are spared beside the same ones.
    assert all(guarded(spared=0.2).is_spared("toy/lora", number) for number in spared)
    assert not any(guarded(spared=0.0).is_spared("toy/lora", number) for number in range(2000))
    assert all(guarded(spared=1.0).is_spared("toy/lora", number) for number in range(2000))


@pytest.mark.parametrize("name", ["median", "successive_halving", "hyperband"])
def test_every_pruner_has_the_guard(name: str) -> None:
    pruner = build_pruner(PrunerSpec(name=name, spared_share=1.0), validations=END)
    study = optuna.create_study(study_name="toy/lora", pruner=pruner)
    for _ in range(6):
        study.add_trial(ended(FAST))
    bad = study.ask()
    for rung in range(1, END):
        bad.report(9.0, rung)
        assert not bad.should_prune()


def test_a_search_that_goes_on_spares_whom_it_would_have_spared(bench: Callable[..., Bench]) -> None:
    changes = {
        "pruner": {"name": "successive_halving", "spared_share": 0.4},
        "sampler": {"name": "random"},
        "budget": {"trials_per_method": 16},
    }
    whole, halves = bench("whole", **changes), bench("halves", **changes)

    def states(here: Bench, *counts: int) -> list[str]:
        found: list[str] = []
        for count in counts:
            search = here.open()
            found += [
                trial.state
                for trial in here.drive(
                    search,
                    lambda proposal, search=search: (
                        record(proposal.config, state="PRUNED", intermediate={1: 2.0 + proposal.config.number})
                        if search.report(proposal.config.number, 1, 2.0 + proposal.config.number)
                        else complete(proposal)
                    ),
                    trials=count,
                )
            ]
        return found

    straight = states(whole, 16)

    assert straight == states(halves, 3, 7, 6)
    # The first has nobody to be worse than; each later one is worse than all before it.
    assert {"COMPLETE", "PRUNED"} == set(straight[1:])


def test_the_warm_up_is_the_trials_own(bench: Callable[..., Bench]) -> None:
    here = bench(
        pruner={"name": "successive_halving", "spared_share": 0.0},
        sampler={"name": "grid"},
        search_space={RATE: {"values": [1e-4]}, "training.warmup_steps": {"values": [0.0, 0.2, 0.5, 0.9]}},
        budget={"trials_per_method": 4},
    )
    search = here.open()
    ends: dict[float, bool] = {}
    while (proposal := search.ask()) is not None:
        warm_up = float(str(proposal.config.params["training.warmup_steps"]))
        ends[warm_up] = search.report(proposal.config.number, 1, 2.0 + len(ends))
        here.end(search, complete(proposal))

    assert sorted(ends) == [0.0, 0.2, 0.5, 0.9]
    # Each is worse than those before it, and the first of two rungs is after half of the steps.
    first, *others = ends
    assert not ends[first]
    assert [ends[warm_up] for warm_up in others] == [warm_up < 0.5 for warm_up in others]
