"""Optuna's samplers and pruners by name, every argument that matters pinned, because Optuna's defaults change.

A sampler lives for one proposal. Its seed comes from the study's seed, the method and the trial's number, so that a
driver that was killed proposes what the uninterrupted one would have. What must outlast a proposal, such as CMA-ES's
state or the place in a quasi-random sequence, Optuna keeps in its storage.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from sweep.rungs import Stretch
from sweep.search.cma import GuardedCmaEs
from sweep.search.guard import GuardedPruner
from sweep.search.halving import HalvingPruner, HyperbandPruner
from sweep.spec import BudgetSpec, PrunerSpec, Scalar, StudySpec

UNCOUNTED_TRIALS = 12
"""Trials that a budget of tokens or hours is taken for, where something depends on their number."""
FEASIBLE = "feasible"
"""Name of the one constraint; a trial without a value for it would upset the Gaussian process."""
FEASIBLE_VALUE = -1.0
INFEASIBLE_VALUE = 1.0


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds of one proposal."""

    trial: int
    """Differs from proposal to proposal."""
    method: int
    """The same for all proposals of a method: a quasi-random sequence has one scrambling."""
    n_startup_trials: int
    """Trials drawn at random before the sampler learns."""


def proposal_seeds(spec: StudySpec, method: str, number: int) -> Seeds:
    """Seeds of a method's proposal by its trial number."""
    return Seeds(
        trial=_seed(spec.seed, method, number),
        method=_seed(spec.seed, method),
        n_startup_trials=startup_trials(spec),
    )


def startup_trials(spec: StudySpec) -> int:
    """Trials drawn at random first: as asked, or a third of the budget and at least 3."""
    return spec.sampler.n_startup_trials or default_startup_trials(spec.budget)


def default_startup_trials(budget: BudgetSpec) -> int:
    """A third of the budget, at least 3; as of 12 trials where they are not counted."""
    return max(3, (budget.trials_per_method or UNCOUNTED_TRIALS) // 3)


def build_sampler(name: str, seeds: Seeds) -> optuna.samplers.BaseSampler:
    """A sampler for one proposal."""
    with warnings.catch_warnings():
        # Brute force, quasi-Monte Carlo and CMA-ES over pruned trials are chosen knowingly; versions are pinned.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[name](seeds)


def build_pruner(
    spec: PrunerSpec, *, validations: int, stretch_of: Callable[[FrozenTrial], Stretch] | None = None
) -> optuna.pruners.BasePruner:
    """The study's pruner, guarded for late bloomers. Steps are a trial's validations, counted from 1.

    Without `stretch_of` all trials are equally long and have no warm-up.
    """
    whole = Stretch(warm_up=0.0, end=validations)
    return GuardedPruner(
        _PRUNERS[spec.name](spec, validations),
        spared_share=spec.spared_share,
        stretch_of=stretch_of or (lambda _: whole),
    )


def propose_gp(
    study: optuna.Study,
    space: dict[str, BaseDistribution],
    seeds: Seeds,
    *,
    value_of_pruned: Callable[[FrozenTrial], float],
) -> dict[str, Scalar]:
    """Params from the Gaussian process, which sees every trial.

    Optuna's own GP learns from COMPLETE trials only, so it would propose a pruned point again and again: its maximum
    stays where it was. It is shown a copy of the study in which a pruned trial is complete with a value of our
    choosing, and one that failed for a reason unknown still runs, so that its surroundings are left alone for now.
    """
    shown = optuna.create_study(
        sampler=build_sampler("gp", seeds), pruner=optuna.pruners.NopPruner(), direction=study.direction
    )
    for trial in study.get_trials(deepcopy=False):
        if trial.distributions.keys() == space.keys():
            shown.add_trial(_as_shown(trial, value_of_pruned))
    return dict(shown.ask(space).params)


def _as_shown(trial: FrozenTrial, value_of_pruned: Callable[[FrozenTrial], float]) -> FrozenTrial:
    unknown = trial.state in (TrialState.RUNNING, TrialState.FAIL)
    value = value_of_pruned(trial) if trial.state == TrialState.PRUNED else trial.value
    return optuna.trial.create_trial(
        state=TrialState.RUNNING if unknown else TrialState.COMPLETE,
        value=None if unknown else value,
        params=trial.params,
        distributions=trial.distributions,
        constraints=None if unknown else trial.constraints,
    )


def _gp(seeds: Seeds) -> optuna.samplers.BaseSampler:
    # Imports torch, on the CPU only, once enough trials have ended; it never touches a GPU.
    return optuna.samplers.GPSampler(
        seed=seeds.trial,
        n_startup_trials=seeds.n_startup_trials,
        deterministic_objective=False,
        warn_independent_sampling=False,
    )


def _tpe(seeds: Seeds) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
        seed=seeds.trial,
        n_startup_trials=seeds.n_startup_trials,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,
    )


def _random(seeds: Seeds) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seeds.trial)


def _grid(seeds: Seeds) -> optuna.samplers.BaseSampler:
    return optuna.samplers.BruteForceSampler(seed=seeds.trial, avoid_premature_stop=False)


def _qmc(seeds: Seeds) -> optuna.samplers.BaseSampler:
    return optuna.samplers.QMCSampler(
        qmc_type="sobol",
        scramble=True,
        seed=seeds.method,
        independent_sampler=_random(seeds),
        warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    )


def _cmaes(seeds: Seeds) -> optuna.samplers.BaseSampler:
    return GuardedCmaEs(
        seed=seeds.trial,
        n_startup_trials=seeds.n_startup_trials,
        independent_sampler=_random(seeds),
        warn_independent_sampling=False,
        consider_pruned_trials=True,
    )


def _median(spec: PrunerSpec, _validations: int) -> optuna.pruners.BasePruner:
    # Optuna leaves steps below n_warmup_steps alone, and ours count from 1.
    return optuna.pruners.MedianPruner(
        n_startup_trials=spec.n_startup_trials,
        n_warmup_steps=spec.n_warmup_steps + 1,
        interval_steps=1,
        n_min_trials=1,
    )


def _successive_halving(spec: PrunerSpec, validations: int) -> optuna.pruners.BasePruner:
    return HalvingPruner(spec.reduction_factor, last=validations)


def _hyperband(spec: PrunerSpec, validations: int) -> optuna.pruners.BasePruner:
    return HyperbandPruner(spec.reduction_factor, last=validations)


def _none(_spec: PrunerSpec, _validations: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.NopPruner()


def _seed(*parts: object) -> int:
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")


_SAMPLERS: dict[str, Callable[[Seeds], optuna.samplers.BaseSampler]] = {
    "gp": _gp,
    "tpe": _tpe,
    "random": _random,
    "grid": _grid,
    "qmc": _qmc,
    "cmaes": _cmaes,
}
_PRUNERS: dict[str, Callable[[PrunerSpec, int], optuna.pruners.BasePruner]] = {
    "median": _median,
    "successive_halving": _successive_halving,
    "hyperband": _hyperband,
    "none": _none,
}
