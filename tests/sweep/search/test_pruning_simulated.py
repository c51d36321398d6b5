"""What pruning saves and what it costs, on synthetic learning curves: every pruner as it is built for a study.

A loss falls by a power law to a floor of its own (arXiv 1712.00409) and is measured with noise. In half of the worlds
the trials with the lowest floors are slow: they fall steeply only later, and their curves cross the others'.
"""

from dataclasses import dataclass

import numpy as np
import optuna
import pytest

from sweep.rungs import Stretch
from sweep.search.guard import GuardedPruner
from sweep.search.samplers import build_pruner
from sweep.spec import PrunerSpec

TRIALS, RUNGS, SEATS, SEEDS = 27, 9, 4, 20
NOISE = 0.01
"""Standard deviation of a measured loss; floors lie up to 1 apart."""
PRUNERS = ("successive_halving", "hyperband", "median")
SLOW_RUNGS = 3
"""Where a slow trial has come half of its way."""


@dataclass(frozen=True)
class World:
    """Losses of every trial, by rung from 1."""

    true: np.ndarray
    measured: np.ndarray
    slow: frozenset[int]

    def regret(self, winner: int) -> float:
        """True loss of a winner above that of the best trial."""
        return float(self.true[winner, -1] - self.true[:, -1].min())

    @property
    def exhaustive_regret(self) -> float:
        """That of the trial which measures best once all have run to their end."""
        return self.regret(int(self.measured[:, -1].argmin()))


def world(seed: int, *, slow: bool) -> World:
    """Trials in random order; with `slow`, the best fifth takes its time."""
    rng = np.random.default_rng(seed)
    floor = rng.uniform(1.0, 2.0, TRIALS)
    power = rng.uniform(0.4, 0.8, TRIALS)
    height = rng.uniform(0.8, 1.2, TRIALS)
    rungs = np.arange(1, RUNGS + 1)
    true = floor[:, None] + height[:, None] * rungs ** -power[:, None]
    late = np.argsort(floor)[: TRIALS // 5 if slow else 0]
    true[late] = floor[late, None] + 2.2 / (1 + (rungs / SLOW_RUNGS) ** 3)
    return World(true, true + NOISE * rng.normal(size=true.shape), frozenset(late.tolist()))


@dataclass(frozen=True)
class Outcome:
    """One search."""

    spent: float
    """Share of the rungs of all trials that were trained."""
    regret: float
    """The winner's, above that of the exhaustive search's winner."""


def search(here: World, pruner: optuna.pruners.BasePruner, seed: int) -> Outcome:
    """Several trials at a time; the seat of one that ends is taken at once by the next."""
    study = optuna.create_study(study_name=f"simulated-{seed}", pruner=pruner)
    waiting, seated = list(range(TRIALS)), {}
    trained, winner = 0, None
    while waiting or seated:
        while waiting and len(seated) < SEATS:
            seated[waiting.pop(0)] = study.ask()
        for number, trial in list(seated.items()):
            rung = len(study.get_trials(deepcopy=False)[number].intermediate_values) + 1
            loss = float(here.measured[number, rung - 1])
            trial.report(loss, rung)
            trained += 1
            if rung == RUNGS:
                study.tell(seated.pop(number), loss)
                if winner is None or loss < here.measured[winner, -1]:
                    winner = number
            elif trial.should_prune():
                study.tell(seated.pop(number), state=optuna.trial.TrialState.PRUNED)
    assert winner is not None
    return Outcome(trained / (TRIALS * RUNGS), here.regret(winner) - here.exhaustive_regret)


def searches(name: str, *, slow: bool, guarded: bool = True, warm_up: float = 0.0) -> tuple[float, float, float]:
    """Over all seeds: mean share spent, mean regret, and share of searches within three times the noise.

    `warm_up` is that of the slow trials, in rungs.
    """
    found = []
    for seed in range(SEEDS):
        here = world(seed, slow=slow)
        pruner = build_pruner(
            PrunerSpec(name=name),
            validations=RUNGS,
            stretch_of=lambda trial, late=here.slow: Stretch(warm_up if trial.number in late else 0.0, RUNGS),
        )
        assert isinstance(pruner, GuardedPruner)
        found.append(search(here, pruner if guarded else pruner._pruner, seed))
    regrets = np.array([outcome.regret for outcome in found])
    return (
        float(np.mean([outcome.spent for outcome in found])),
        float(regrets.mean()),
        float(np.mean(regrets < 3 * NOISE)),
    )


def test_the_exhaustive_search_is_what_it_is_measured_against() -> None:
    assert searches("none", slow=False) == searches("none", slow=True) == (1.0, 0.0, 1.0)
    # Its own winner is off by no more than the noise allows.
    assert np.mean([world(seed, slow=False).exhaustive_regret for seed in range(200)]) < NOISE


@pytest.mark.parametrize(("name", "most_spent"), [("successive_halving", 0.45), ("hyperband", 0.65), ("median", 0.65)])
def test_a_pruned_search_spends_less_and_finds_as_good_a_trial(name: str, most_spent: float) -> None:
    spent, regret, near = searches(name, slow=False)

    assert spent < most_spent
    assert regret < NOISE
    assert near >= 0.85


@pytest.mark.parametrize("name", PRUNERS)
def test_the_guard_finds_late_bloomers_for_a_tenth_of_the_budget(name: str) -> None:
    spent, regret, _ = searches(name, slow=True)
    bare_spent, bare_regret, _ = searches(name, slow=True, guarded=False)

    assert regret < 0.8 * bare_regret
    assert bare_spent < spent < bare_spent + 0.12


@pytest.mark.parametrize("name", PRUNERS)
def test_trials_that_are_slow_for_their_warm_up_are_found_like_any_others(name: str) -> None:
    spent, regret, near = searches(name, slow=True, warm_up=float(SLOW_RUNGS))

    assert spent < 0.7
    assert regret < 2 * NOISE
    assert near >= 0.75
