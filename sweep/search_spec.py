"""How a study searches: what each method may spend, how params are proposed, and when trials are ended early."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from evals.spec import Spec


class BudgetSpec(Spec):
    """How much is spent, the same for every method. Where several bounds are set, the first that is reached counts.

    A trial is begun while something is left, and then run to its end: a method may overdraw by one trial, never two.
    """

    trials_per_method: int | None = Field(12, gt=0)
    """Trials that each method's search may run; a repeated config costs none. Unless set, 12, or no
    bound where there is another."""
    tokens_per_method: int | None = Field(None, gt=0)
    """Tokens that each method's search may train on, those of pruned and failed trials included."""
    device_hours_per_method: float | None = Field(None, gt=0)
    """Hours of a device that each method's search may take: loading, training and scoring, whatever came of it."""
    confirm_seeds: int = Field(3, ge=0)
    """Fresh seeds for each finalist."""
    trial_minutes: float | None = Field(None, gt=0)
    """Deadline of one trial."""

    @model_validator(mode="before")
    @classmethod
    def _count_trials_only_where_asked(cls, given: object) -> object:
        """Who sets a budget in tokens or hours does not mean twelve trials as well."""
        others = ("tokens_per_method", "device_hours_per_method")
        if not isinstance(given, Mapping) or "trials_per_method" in given:
            return given
        return {**given, "trials_per_method": None} if any(given.get(name) for name in others) else given


class SamplerSpec(Spec):
    """How Optuna proposes params."""

    name: Literal["gp", "tpe", "random", "grid", "qmc", "cmaes"] = "gp"
    """Gaussian process, TPE, random, grid (every combination once), quasi-Monte Carlo, or CMA-ES."""
    n_startup_trials: int | None = Field(None, ge=1)
    """Trials drawn at random before the sampler learns; without it, a third of the budget, at least 3."""


class PrunerSpec(Spec):
    """When Optuna ends a trial early, by its validation loss."""

    name: Literal["median", "successive_halving", "hyperband", "none"] = "median"
    """Median rule, successive halving, Hyperband, or none."""
    n_startup_trials: int = Field(4, ge=0)
    """Trials that must finish before the median rule acts."""
    n_warmup_steps: int = Field(1, ge=0)
    """Validations of each trial that the median rule leaves alone."""
    reduction_factor: int = Field(3, ge=2)
    """Share of trials kept at each rung of halving and Hyperband: one in so many."""
    spared_share: float = Field(0.1, ge=0, le=1)
    """Share of trials that always run to their end, so that late bloomers are seen; which ones follows from the names
    of study and method and the trial's number."""


class Horizon(Spec):
    """Rows of the longest trial, which the rungs of all are shares of; the larger of the two counts."""

    passes: float | None = Field(None, gt=0)
    """As passes over the training rows."""
    rows: int | None = Field(None, gt=0)
    """As a number of rows."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.passes is None and self.rows is None:
            raise ValueError("a horizon has passes, rows or both")
        return self
