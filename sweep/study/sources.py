"""Where the dispatcher's trials come from: a fixed list, or the searches of all methods in turn."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from sweep.config import TrialConfig
from sweep.events import OnEvent, SpaceExhausted
from sweep.record import Failure, FailureKind, TrialRecord
from sweep.search.method_search import MethodSearch, Proposal
from sweep.spec import ObjectiveSpec

Key = Callable[[TrialConfig], str | None]
"""The same for trials that can be run together; none for one that has to be run alone."""
LEAD = 0.25
"""Share of its budget by which a method may come ahead of the others as seats of its trials are refilled."""


class ListSource:
    """Trials known beforehand: the base model, or the finalists' repetitions."""

    def __init__(
        self,
        configs: Iterable[TrialConfig],
        objective: ObjectiveSpec,
        *,
        needs_objective: bool,
        key: Key = lambda _: None,
    ) -> None:
        self._configs = deque(configs)
        self._objective = objective
        self._needs_objective = needs_objective
        self._key = key

    def next_trial(self, beside: TrialConfig | None = None, *, refill: bool = False) -> TrialConfig | None:
        """The next of the list, or the next that can be run together with a trial."""
        del refill
        for place, config in enumerate(self._configs):
            if beside is None or can_share(self._key, beside, config):
                del self._configs[place]
                return config
        return None

    def note_loss(self, config: TrialConfig, rung: int, validation_loss: float) -> None:
        """Nothing is pruned outside the search."""

    def judge_rung(self, config: TrialConfig, rung: int, validation_loss: float) -> bool:
        """Nothing is pruned outside the search."""
        del config, rung, validation_loss
        return False

    def judge(self, record: TrialRecord) -> TrialRecord:
        """Fill in the objective, which the tasks of the confirm phase need not have."""
        return with_objective(record, self._objective, is_required=self._needs_objective)

    def take(self, record: TrialRecord) -> None:
        """The record on disk is all that is needed."""

    def put_back(self, config: TrialConfig) -> None:
        """Run it again next."""
        self._configs.appendleft(config)


class SearchSource:
    """All methods' searches, round robin: whenever the study is stopped, each has had the same share of its budget."""

    def __init__(
        self,
        searches: Mapping[str, MethodSearch],
        objective: ObjectiveSpec,
        *,
        on_event: OnEvent,
        key: Key = lambda _: None,
    ) -> None:
        self._searches = searches
        self._objective = objective
        self._on_event = on_event
        self._key = key
        self._announced: set[str] = set()

    def next_trial(
        self, beside: TrialConfig | None = None, *, refill: bool = False
    ) -> TrialConfig | TrialRecord | None:
        """A trial of the method that has had least of its budget, the earlier in the study among equals.

        With `beside`, one of that trial's own method; a seat is refilled until the method has come too far ahead.
        """
        for method in sorted(self._searches, key=self._share_spent):
            if beside is not None and (method != beside.method or (refill and self._is_ahead(method))):
                continue
            search = self._searches[method]
            proposal = search.ask()
            if proposal is None:
                self._announce_exhaustion(method, search)
                continue
            known = settled(proposal)
            if known is None and beside is not None and not can_share(self._key, beside, proposal.config):
                search.put_back(proposal.config)
                continue
            return known or proposal.config
        return None

    def _share_spent(self, method: str) -> float:
        return self._searches[method].ledger.share_spent

    def _is_ahead(self, method: str) -> bool:
        others = [self._share_spent(name) for name, search in self._searches.items() if not search.is_done]
        return self._share_spent(method) > min(others, default=0.0) + LEAD

    def note_loss(self, config: TrialConfig, rung: int, validation_loss: float) -> None:
        """Show it to the method's pruner."""
        self._search(config).note_loss(config.number, rung, validation_loss)

    def judge_rung(self, config: TrialConfig, rung: int, validation_loss: float) -> bool:
        """Ask the method's pruner."""
        return self._search(config).report(config.number, rung, validation_loss)

    def judge(self, record: TrialRecord) -> TrialRecord:
        """Fill in the objective; a complete trial without one has failed."""
        return with_objective(record, self._objective, is_required=True)

    def take(self, record: TrialRecord) -> None:
        """Tell the method's Optuna study."""
        self._search(record.config).tell(record)

    def put_back(self, config: TrialConfig) -> None:
        """Run it again next."""
        self._search(config).put_back(config)

    def _search(self, config: TrialConfig) -> MethodSearch:
        return self._searches[config.method or ""]

    def _announce_exhaustion(self, method: str, search: MethodSearch) -> None:
        if search.is_exhausted and not search.ledger.is_spent and method not in self._announced:
            self._announced.add(method)
            self._on_event(SpaceExhausted(method, search.ledger.spending.trials))


def can_share(key: Key, one: TrialConfig, other: TrialConfig) -> bool:
    """Whether two trials can be run together."""
    shared = key(one)
    return shared is not None and shared == key(other)


def settled(proposal: Proposal) -> TrialRecord | None:
    """The record of a trial that need not be run, because one was or because it cannot fit; none for all others."""
    if proposal.known is not None:
        return copied(proposal, proposal.known)
    return None if proposal.refusal is None else refused(proposal.config, proposal.refusal)


def refused(config: TrialConfig, reason: str) -> TrialRecord:
    """The record of a trial that is not run, because it cannot fit."""
    return TrialRecord(
        config=config,
        config_fingerprint=config.fingerprint(),
        state="FAIL",
        failure=Failure(kind="infeasible", message=reason, foreseen=True),
        started_at=datetime.now(UTC),
    )


def copied(proposal: Proposal, known: TrialRecord) -> TrialRecord:
    """The record of a trial that was not run, because the same config was."""
    return known.model_copy(
        update={
            "config": proposal.config,
            "reused_from": known.config.number,
            "seconds": {},
            "seconds_total": 0.0,
            "started_at": datetime.now(UTC),
        }
    )


def with_objective(record: TrialRecord, objective: ObjectiveSpec, *, is_required: bool) -> TrialRecord:
    """Fill in a complete record's objective; where it is required and not there or not a number, the trial failed."""
    if record.state != "COMPLETE":
        return record
    metrics = {} if record.evaluation is None else record.evaluation.metrics
    metric = metrics.get(objective.metric)
    if metric is not None and math.isfinite(metric.value):
        return record.model_copy(update={"objective": metric.value})
    if not is_required:
        return record
    if metric is not None:
        return _failed(record, "diverged", f"The objective {objective.metric} is {metric.value}.")
    names = ", ".join(sorted(metrics)) or "none"
    return _failed(record, "error", f"The objective {objective.metric} was not scored. Metrics there are: {names}.")


def _failed(record: TrialRecord, kind: FailureKind, message: str) -> TrialRecord:
    return record.model_copy(update={"state": "FAIL", "failure": Failure(kind=kind, message=message)})
