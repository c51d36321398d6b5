"""Which trials of a study will be run together, told before it begins.

What `company` decides trial by trial is asked here for every kind of trial that a method's search can choose.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sweep import space
from sweep.config import TrialConfig, configure
from sweep.plan.fit import UNKNOWN_ROWS, method_ends
from sweep.plan.ranges import Range
from sweep.plan.result import Seating
from sweep.plan.space_ends import candidates, configs
from sweep.plan.work import counted_trials
from sweep.shape import Facts, ModelShape
from sweep.spec import MethodSpec, StudySpec
from sweep.study.company import FIRST_SEED, Company, Limit
from sweep.training.lanes.ability import base_key, is_decisive

MOST_KINDS = 64
"""Kinds of trials whose memory is looked at, at most."""
NO_LIMIT = 2**31
NOBODY = "no other trial can be run beside it"


Phase = Literal["search", "confirm"]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """What a method's search can choose, by what decides whether trials share a base model; each as often."""

    shared: tuple[MethodSpec, ...]
    alone: float
    """Share of the kinds that are run alone."""
    reasons: tuple[str, ...]
    bases: frozenset[str]


def seatings(spec: StudySpec, facts: Facts) -> list[Seating]:
    """A row for each method and phase that trains, in the plan's order."""
    company = Company(spec, lambda: facts)
    kinds = {method: _kinds(spec, company, method) for method in spec.methods}
    found = [
        _seating(spec, "search", method, kinds[method], _limits(spec, company, facts, method, "search", kinds[method]))
        for method in spec.methods
    ]
    if not spec.budget.confirm_seeds:
        return found
    for method in spec.methods:
        limits = _limits(spec, company, facts, method, "confirm", kinds[method])
        # All methods' finalists are known at the same time, so those of several may share a base model.
        sharing = sum(not other.bases.isdisjoint(kinds[method].bases) for other in kinds.values())
        seat = _seating(spec, "confirm", method, kinds[method], limits, sharing=sharing)
        found.append(_with_first_seed(seat, spec.budget.confirm_seeds))
    return found


def _kinds(spec: StudySpec, company: Company, method: str) -> _Kinds:
    own = spec.methods[method]
    searched = {
        name: candidates(dimension)
        for name, dimension in space.for_method(spec, method).items()
        if is_decisive(name.removeprefix(f"methods.{method}."))
    }
    found = list(configs(own, method, searched)) or [own]
    reasons = [company.alone(_trial(spec, method, config, "search")) for config in found]
    shared = [config for config, reason in zip(found, reasons, strict=True) if reason is None]
    return _Kinds(
        shared=tuple(shared),
        alone=1 - len(shared) / len(found),
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason is not None)),
        bases=frozenset(base_key(config, spec.model) for config in shared),
    )


def _limits(  # noqa: PLR0913, PLR0917
    spec: StudySpec, company: Company, facts: Facts, method: str, phase: Phase, kinds: _Kinds
) -> tuple[Limit, Limit, Limit] | None:
    """Seats of trials that need most memory, of the study's own settings, and of those that need least."""
    if facts.shape is None or not kinds.shared:
        return None
    found = [
        company.limit(_trial(spec, method, config, phase))
        for kind in kinds.shared[:MOST_KINDS]
        for config in _ends(spec, method, kind, facts.shape, facts)
    ]
    return (
        min(found, key=lambda limit: limit.seats),
        # The first kind's own settings.
        found[1],
        max(found, key=lambda limit: limit.seats),
    )


def _ends(
    spec: StudySpec, method: str, kind: MethodSpec, shape: ModelShape, facts: Facts
) -> tuple[MethodSpec, MethodSpec, MethodSpec]:
    """A kind's configs with the most memory, its own and with the least, over what else is searched."""
    others = {
        name: dimension
        for name, dimension in spec.search_space.items()
        if not is_decisive(name.removeprefix(f"methods.{method}."))
    }
    only = spec.model_copy(update={"methods": {**spec.methods, method: kind}, "search_space": others})
    found = method_ends(only, method, shape, facts.lengths.get("train", UNKNOWN_ROWS), facts.device.kind)
    return found.most, found.own, found.least


def _seating(  # noqa: PLR0913, PLR0917
    spec: StudySpec,
    phase: Phase,
    method: str,
    kinds: _Kinds,
    limits: tuple[Limit, Limit, Limit] | None,
    sharing: int = 1,
) -> Seating:
    one = Range.exactly(1)
    if limits is None:
        return Seating(phase, method, one, "", 1.0, kinds.reasons)
    there = _at_the_same_time(spec, phase, method, sharing)
    few, own, many = ([limit, there][limit.seats > there.seats] for limit in limits)
    bound = ", or ".join(dict.fromkeys((few.why, many.why)))
    if many.seats == 1:
        return Seating(phase, method, one, bound, 1.0, (*kinds.reasons, bound))
    seats = Range.across(few.seats, own.seats, many.seats)
    return Seating(phase, method, seats, bound, kinds.alone, kinds.reasons, max(1, len(kinds.bases)))


def _at_the_same_time(spec: StudySpec, phase: Phase, method: str, sharing: int) -> Limit:
    """Trials that there are to run at the same time."""
    if phase == "confirm":
        seeds = spec.budget.confirm_seeds - 1
        trials = seeds * sharing
        return Limit(max(1, trials), f"{trials} seeds after the finalist's first" if trials > 1 else NOBODY)
    counted = counted_trials(spec, method)
    if counted is None:
        return Limit(NO_LIMIT, "")
    return Limit(counted, f"the search has {counted} trials" if counted > 1 else NOBODY)


def _with_first_seed(seat: Seating, seeds: int) -> Seating:
    """The same with the finalist's first seed, which is always alone."""
    if not seat.bound:
        return seat
    if seeds == 1:
        return replace(seat, reasons=(FIRST_SEED,))
    return replace(seat, alone=1 / seeds + (1 - 1 / seeds) * seat.alone, reasons=(FIRST_SEED, *seat.reasons))


def _trial(spec: StudySpec, method: str, config: MethodSpec, phase: Phase) -> TrialConfig:
    # The second of its phase: a finalist's first seed is alone whatever it trains.
    trial = configure(spec, method, {}, phase=phase, number=2, seed=spec.seed, data_root=Path())
    return trial.model_copy(update={"method_spec": config})
