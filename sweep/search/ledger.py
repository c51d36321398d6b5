"""What one method's search has run, is running, and may still spend: counted from records, never from Optuna.

A reused record costs nothing and never becomes a finalist: it is a copy of one that is here already. Nor does a record
of a config that was refused because it cannot fit.
"""

from collections.abc import Iterable

from sweep import budget
from sweep.config import TrialConfig
from sweep.record import TrialRecord
from sweep.space import Dimensions, contains
from sweep.spec import ParamValue, StudySpec

DETERMINISTIC = frozenset({"out_of_memory", "infeasible", "diverged"})
"""Failures that would come again: such a config is not run twice. A deadline or a crash may have been bad luck."""
DUPLICATES_THAT_END = 20
"""Repeated proposals in a row after which a method's space counts as exhausted."""
REFUSALS_THAT_END = 50
"""Proposals in a row that cannot fit, after which nothing in the space is thought to fit."""

Point = tuple[tuple[str, ParamValue], ...]


class Ledger:
    """The books of one method's search."""

    def __init__(self, spec: StudySpec, records: Iterable[TrialRecord], *, baseline: float) -> None:
        self._spec = spec
        self._baseline = baseline
        self._records: list[TrialRecord] = []
        self._by_fingerprint: dict[str, TrialRecord] = {}
        self._running: dict[int, TrialConfig] = {}
        self._parked: list[TrialConfig] = []
        self._duplicates = 0
        self._spent = budget.Spending()
        self._refusals = 0
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Enter a record that is on disk; its trial runs no longer."""
        self._running.pop(record.config.number, None)
        self._records.append(record)
        self._spent += budget.spending_of(record)
        self._duplicates = 0 if record.reused_from is None else self._duplicates + 1
        self._refusals = 0 if record.was_run else self._refusals + (record.reused_from is None)
        if record.reused_from is None and is_reusable(record):
            self._by_fingerprint.setdefault(record.config_fingerprint, record)

    def start(self, config: TrialConfig) -> None:
        """A trial has been handed out."""
        self._running[config.number] = config
        self._refusals = 0

    def stop(self, config: TrialConfig) -> None:
        """A trial ended without a record."""
        self._running.pop(config.number, None)

    def find(self, config: TrialConfig) -> TrialRecord | None:
        """The record of a trial that ran the same config to an end that would come again."""
        return self._by_fingerprint.get(config.fingerprint())

    def is_running(self, config: TrialConfig) -> bool:
        """Whether the same config is being run at this moment, under another number."""
        fingerprint = config.fingerprint()
        return any(running.fingerprint() == fingerprint for running in self._running.values())

    def park(self, config: TrialConfig) -> None:
        """Keep a config back until the same one, which is running, has ended."""
        self._parked.append(config)

    def take_parked(self) -> TrialConfig | None:
        """A config that was kept back and need wait no longer."""
        for place, config in enumerate(self._parked):
            if not self.is_running(config):
                return self._parked.pop(place)
        return None

    @property
    def has_parked(self) -> bool:
        """Whether a config is being kept back."""
        return bool(self._parked)

    @property
    def spending(self) -> budget.Spending:
        """What the method has had of its budget, trials that are running counted as they will probably end."""
        return budget.foreseen(self._spent, len(self._running))

    @property
    def share_spent(self) -> float:
        """Share of the budget that the method has had."""
        return budget.share_spent(self._spec.budget, self.spending)

    @property
    def is_spent(self) -> bool:
        """Whether the budget is used up, so that no further trial begins."""
        return budget.is_spent(self._spec.budget, self.spending)

    @property
    def duplicates(self) -> int:
        """Repeated proposals since the last new one."""
        return self._duplicates

    @property
    def fruitless(self) -> int:
        """Proposals since the last one that was run: repeated ones, or ones that cannot fit."""
        return self._duplicates + self._refusals

    def is_exhausted(self, dimensions: Dimensions, size: int | None) -> bool:
        """Whether every point has been tried, or nothing new has come up for long."""
        if self._duplicates >= DUPLICATES_THAT_END or self._refusals >= REFUSALS_THAT_END:
            return True
        return size is not None and len(self._tried(dimensions)) >= size

    @property
    def best(self) -> TrialRecord | None:
        """The finalist: the best COMPLETE record, the earlier of two equal ones."""
        completes = self._completes
        sign = -1.0 if self._spec.objective.direction == "maximize" else 1.0
        return min(completes, key=lambda record: sign * _value(record)) if completes else None

    def worst_value(self, number: int | None = None) -> float:
        """The worst objective so far, or of the trials before one; the base model's where there is none.

        What an infeasible trial is told as depends on earlier trials only, so that telling it again gives the same.
        """
        completes = self._completes
        earlier = [record for record in completes if number is None or record.config.number < number]
        values = [_value(record) for record in earlier] or [self._baseline]
        return min(values) if self._spec.objective.direction == "maximize" else max(values)

    @property
    def _completes(self) -> list[TrialRecord]:
        return [
            record
            for record in self._records
            if record.state == "COMPLETE" and record.reused_from is None and record.objective is not None
        ]

    def _tried(self, dimensions: Dimensions) -> set[Point]:
        configs = [record.config for record in self._records] + list(self._running.values())
        return {
            tuple(sorted(config.params.items()))
            for config in configs
            if config.params.keys() == dimensions.keys()
            and all(contains(dimensions[name], value) for name, value in config.params.items())
        }


def is_reusable(record: TrialRecord) -> bool:
    """Whether running the record's config again would end the same way."""
    return record.failure is None or record.failure.kind in DETERMINISTIC


def _value(record: TrialRecord) -> float:
    if record.objective is None:
        raise ValueError(f"trial {record.config.number} has no objective.")
    return record.objective
