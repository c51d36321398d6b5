"""What a method's search has spent, and what is left: counted from records, never from the clock of a driver.

Every trial that was run counts with all that it took, however it ended: pruned, failed, killed; so do the seconds of
its starts that ran out of memory. A repeated config, and one that was refused because it cannot fit, was not run and
costs nothing. Time that a killed driver left no record of is not known here and not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sweep.record import TrialRecord
from sweep.spec import BudgetSpec

SECONDS_PER_HOUR = 3600
TOKENS = "training tokens"
HOURS = "device hours"


@dataclass(frozen=True, slots=True)
class Spending:
    """What a method's search took."""

    trials: int = 0
    """Trials that were run."""
    tokens: int = 0
    """Tokens that they trained on."""
    device_seconds: float = 0.0
    """Wall time of each on its devices."""

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(
            self.trials + other.trials, self.tokens + other.tokens, self.device_seconds + other.device_seconds
        )


def spending_of(record: TrialRecord) -> Spending:
    """What one trial took."""
    if not record.was_run:
        return Spending()
    # Records of older versions tell the tokens of trials that were trained to their end.
    tokens = record.tokens if record.tokens is not None else record.training.tokens if record.training else 0
    devices = 1 if record.device is None else record.device.count
    lost = 0.0 if record.easing is None else record.easing.lost_seconds
    return Spending(1, tokens, (record.seconds_total + lost) * devices)


def total(records: Iterable[TrialRecord]) -> Spending:
    """What several trials took."""
    return sum((spending_of(record) for record in records), Spending())


def foreseen(spent: Spending, running: int) -> Spending:
    """What will have been spent once trials that are running have ended, each taking what one took so far on average.

    Before the first has ended nothing is known of their cost but that they are trials.
    """
    share = running / spent.trials if spent.trials else 0.0
    return spent + Spending(running, round(spent.tokens * share), spent.device_seconds * share)


def share_spent(budget: BudgetSpec, spent: Spending) -> float:
    """Share of the budget that is used up, by the bound that is reached first; 0 where nothing bounds it."""
    return max((have / bound for have, bound in _against_bounds(budget, spent)), default=0.0)


def is_spent(budget: BudgetSpec, spent: Spending) -> bool:
    """Whether no further trial may begin."""
    return any(have >= bound for have, bound in _against_bounds(budget, spent))


def trials_left(budget: BudgetSpec, spent: Spending) -> int | None:
    """Trials that may still begin; none where the budget does not count them."""
    return None if budget.trials_per_method is None else max(0, budget.trials_per_method - spent.trials)


def seconds_left(budget: BudgetSpec, spent: Spending) -> float | None:
    """Seconds of a device that what is left will take, from what was taken so far; None before anything was."""
    if is_spent(budget, spent):
        return 0.0
    if spent.trials == 0:
        return None
    # A bound of which nothing was used, such as tokens where every trial failed at once, tells nothing.
    ends = [spent.device_seconds * (bound / have - 1) for have, bound in _against_bounds(budget, spent) if have]
    return min(ends, default=None)


def describe(budget: BudgetSpec) -> str:
    """The budget of each method in words: `12 trials`, `2,000,000 training tokens or 3 device hours`."""
    parts = [f"{bound:,g} {unit}" if unit == HOURS else f"{bound:,} {unit}" for bound, unit in _bounds(budget)]
    return " or ".join(parts) or "every config of its space"


def progress(budget: BudgetSpec, spent: Spending) -> str:
    """What is spent of the budget: `3 of 12 trials`, `7 trials, 0.4 of 3 device hours`."""
    bound = budget.trials_per_method
    counted = f"{spent.trials:,}" if bound is None else f"{spent.trials:,} of {bound:,}"
    parts = [f"{counted} trial{'' if (spent.trials if bound is None else bound) == 1 else 's'}"]
    if budget.tokens_per_method is not None:
        parts.append(f"{spent.tokens:,} of {budget.tokens_per_method:,} {TOKENS}")
    if budget.device_hours_per_method is not None:
        hours = spent.device_seconds / SECONDS_PER_HOUR
        parts.append(f"{hours:.3g} of {budget.device_hours_per_method:,g} {HOURS}")
    return ", ".join(parts)


def _bounds(budget: BudgetSpec) -> list[tuple[float, str]]:
    found = (
        (budget.trials_per_method, "trial" if budget.trials_per_method == 1 else "trials"),
        (budget.tokens_per_method, TOKENS),
        (budget.device_hours_per_method, HOURS),
    )
    return [(bound, unit) for bound, unit in found if bound is not None]


def _against_bounds(budget: BudgetSpec, spent: Spending) -> list[tuple[float, float]]:
    """What was spent beside what may be, for each bound that is set."""
    hours = budget.device_hours_per_method
    found = (
        (spent.trials, budget.trials_per_method),
        (spent.tokens, budget.tokens_per_method),
        (spent.device_seconds, None if hours is None else hours * SECONDS_PER_HOUR),
    )
    return [(have, bound) for have, bound in found if bound is not None]
