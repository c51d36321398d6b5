"""A search that ends when it has taken so many hours of a device: how many trials that is.

Trials that are quick fit more often than slow ones, so the many go with the least that one may take and the few with
the most. The trial that crosses the bound is finished.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from sweep.plan.ranges import Range
from sweep.plan.result import PhaseHours, PhaseWork

HoursOf = Callable[[PhaseWork], PhaseHours]
"""Time that work takes on one device."""


def within_hours(
    whole: PhaseWork, hours: float, *, work_of: Callable[[int], PhaseWork], hours_of: HoursOf
) -> tuple[PhaseWork, PhaseHours]:
    """The search as its budget in hours leaves it, and the time that it takes.

    `whole` is what it would be without that budget, of unknown length where nothing else bounds it, and `work_of` the
    work of a number of trials.
    """
    most = None if whole.trials is None else int(whole.trials.high)
    took = hours_of(work_of(most or 1)).hours
    if took is None:
        return _untimed(whole, hours, work_of)
    if most is not None and took.high <= hours:
        return whole, hours_of(whole)

    def known(trials: int) -> Range:
        found = hours_of(work_of(trials)).hours
        assert found is not None  # noqa: S101 - what is known of one number of trials is known of all
        return found

    few = trials_within(hours, lambda trials: known(trials).high, most)
    expected = trials_within(hours, lambda trials: known(trials).expected, most)
    many = trials_within(hours, lambda trials: known(trials).low, most)
    work = _between(work_of(few), work_of(expected), work_of(many))
    time = Range.across(known(few).high, known(expected).expected, known(many).low)
    return work, PhaseHours(whole.phase, whole.method, time, hours_of(whole).untimed)


def trials_within(hours: float, hours_of: Callable[[int], float], most: int | None) -> int:
    """Trials that begin before so many hours are spent, and at most `most` of them; more must take longer."""
    if most is not None and hours_of(most) < hours:
        return most
    enough = 1
    while hours_of(enough) < hours:
        enough *= 2
    return bisect_left(range(enough), hours, lo=max(1, enough // 2), key=hours_of)


def _between(few: PhaseWork, expected: PhaseWork, many: PhaseWork) -> PhaseWork:
    """Dear trials are few, cheap ones many."""
    counts = zip(_amounts(few), _amounts(expected), _amounts(many), strict=True)
    return _with(expected, [Range.across(low.high, middle.expected, high.low) for low, middle, high in counts])


def _untimed(whole: PhaseWork, hours: float, work_of: Callable[[int], PhaseWork]) -> tuple[PhaseWork, PhaseHours]:
    """Where nothing tells how long a trial takes: the hours themselves, or as many trials as another bound allows."""
    tasks = tuple(whole.scoring.items)
    if whole.trials is None:
        return whole, PhaseHours(whole.phase, whole.method, Range.exactly(hours), tasks)
    counts = zip(_amounts(work_of(1)), _amounts(whole), strict=True)
    work = _with(whole, [Range(min(one.low, most.low), most.expected, most.high) for one, most in counts])
    return work, PhaseHours(whole.phase, whole.method, None, tasks)


def _amounts(work: PhaseWork) -> list[Range]:
    """What there is more of the more trials there are."""
    found = (work.trials, work.train_tokens, work.validation_tokens, work.scored)
    return [amount for amount in found if amount is not None]


def _with(work: PhaseWork, amounts: Sequence[Range]) -> PhaseWork:
    trials, train, validation, scored = amounts
    return replace(work, trials=trials, train_tokens=train, validation_tokens=validation, scored=scored)
