"""Where a run stands, from its records: which phase, how many trials ended as what, and the best so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sweep.board import Board, read_board
from sweep.budget import Spending, is_spent, seconds_left, total
from sweep.openings import Opening, read_openings
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

RunPhase = Literal["baseline", "search", "confirm", "done"]


@dataclass(frozen=True, slots=True)
class MethodStatus:
    """One method's progress."""

    states: Mapping[str, int]
    """Trials by state; failures by their kind."""
    spent: Spending
    """What its search has had of the budget; repeated configs cost nothing."""
    best: TrialRecord | None
    """Best complete trial so far, by the objective."""
    seeds_done: int
    """Repetitions of the finalist that have ended."""
    seconds: float
    """Wall time that its trials took."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run's progress."""

    spec: StudySpec
    """The study as run."""
    phase: RunPhase
    """The phase it is in."""
    methods: Mapping[str, MethodStatus]
    """Progress by method."""
    seconds_left: float | None
    """Wall time to come on one worker, from the mean of what has ended; none before a method's first trial ends."""
    openings: Sequence[Opening]
    """How often the test data were opened."""
    board: Board | None = None
    """What the workers are doing, where a driver is at work that tells; it may be a board of one that was killed."""


def read_status(run: RunDirectory) -> RunStatus:
    """Read a run's progress. Raises RunDirectoryError where there is no run."""
    spec = run.read_study()
    methods = {name: _method_status(run, spec, name) for name in spec.methods}
    left = _seconds_left(spec, methods)
    return RunStatus(spec, _phase(run, spec, methods), methods, left, read_openings(run), read_board(run.path))


def best_trial(records: list[TrialRecord], spec: StudySpec) -> TrialRecord | None:
    """The complete trial with the best objective; the earlier one where two are equal."""
    scored = [(r.objective, r) for r in records if r.state == "COMPLETE" and r.objective is not None]
    if not scored:
        return None
    sign = -1 if spec.objective.direction == "maximize" else 1
    return min(scored, key=lambda pair: (sign * pair[0], pair[1].config.number))[1]


def _method_status(run: RunDirectory, spec: StudySpec, method: str) -> MethodStatus:
    search = run.search_records(method)
    confirm = run.confirm_records(method)
    own = [record for record in search if record.was_run]
    return MethodStatus(
        states=Counter(_state(record) for record in search),
        spent=total(search),
        best=best_trial(search, spec),
        seeds_done=len(confirm),
        seconds=sum(record.seconds_total for record in [*own, *confirm]),
    )


def _state(record: TrialRecord) -> str:
    if record.reused_from is not None:
        return "reused"
    return record.failure.kind if record.failure is not None else record.state.lower()


def _phase(run: RunDirectory, spec: StudySpec, methods: Mapping[str, MethodStatus]) -> RunPhase:
    if not run.baseline.record.exists():
        return "baseline"
    # Confirm opens with the base model on the test split, and only once the search is over.
    if spec.budget.confirm_seeds == 0:
        searched = all(is_spent(spec.budget, method.spent) for method in methods.values())
        return "done" if searched else "search"
    if not run.confirm_baseline.record.exists():
        return "search"
    finalists = [method for method in methods.values() if method.best is not None]
    repeated = all(method.seeds_done >= spec.budget.confirm_seeds for method in finalists)
    return "done" if repeated else "confirm"


def _seconds_left(spec: StudySpec, methods: Mapping[str, MethodStatus]) -> float | None:
    left = 0.0
    for method in methods.values():
        search = seconds_left(spec.budget, method.spent)
        if search is None:
            return None
        ended = method.spent.trials + method.seeds_done
        open_seeds = max(0, spec.budget.confirm_seeds - method.seeds_done)
        left += search + (method.seconds / ended * open_seeds if ended else 0.0)
    return left
