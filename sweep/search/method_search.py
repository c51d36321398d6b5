"""What a method's search tries next.

A config that was run before is proposed at no cost: its record is copied. Budget, finalist and duplicates are counted
in the ledger from records; Optuna only proposes and prunes. A config that cannot fit the device is told as infeasible
without being run, and costs nothing either.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from sweep import space
from sweep.config import TrialConfig, configure
from sweep.errors import InputError, RunDirectoryError
from sweep.record import TrialRecord
from sweep.search.ledger import Ledger
from sweep.search.mirror import OptunaMirror
from sweep.search.samplers import build_sampler, proposal_seeds, propose_gp
from sweep.spec import Params, StudySpec
from sweep.store import RunDirectory, read_config

RANDOM_AFTER_FRUITLESS = 3
"""Repeated or refused proposals in a row after which the next is drawn at random: a learned one would repeat itself."""
Refuse = Callable[[TrialConfig], str | None]
"""Why a config cannot fit, in a sentence; none where it might."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to run, or one whose outcome is known already."""

    config: TrialConfig
    known: TrialRecord | None
    """The record of a trial that ran the same config."""
    refusal: str | None = None
    """Why the config cannot fit and is not run."""


class MethodSearch:
    """Ask and tell for one method."""

    def __init__(  # noqa: PLR0913
        self,
        spec: StudySpec,
        method: str,
        *,
        run: RunDirectory,
        storage: BaseStorage,
        data_root: Path,
        baseline: float,
        refuse: Refuse = lambda _: None,
        rows: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`rows` is the number of training rows, asked as trials run."""
        self._spec = spec
        self._method = method
        self._data_root = data_root
        self._refuse = refuse
        self._dimensions = space.for_method(spec, method)
        self._size = space.size(self._dimensions)
        records = run.search_records(method)
        self._ledger = Ledger(spec, records, baseline=baseline)
        self._mirror = OptunaMirror(spec, method, storage=storage, rows=rows)
        self._redo = list(
            self._mirror.reconcile(
                {record.config.number: record for record in records},
                _configs_on_disk(run, method, {record.config.number: record.config for record in records}),
                worst_value=self._ledger.worst_value,
            )
        )
        self._enqueue_starting_points()

    @property
    def ledger(self) -> Ledger:
        """What has been run."""
        return self._ledger

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing new is left to propose."""
        return not self._redo and self._ledger.is_exhausted(self._dimensions, self._size)

    @property
    def is_done(self) -> bool:
        """Whether the method has had its budget, or all of its space."""
        return not self._redo and not self._ledger.has_parked and (self._ledger.is_spent or self.is_exhausted)

    def ask(self) -> Proposal | None:
        """The next trial; None where the search is done or has to wait for a running trial."""
        parked = self._ledger.take_parked()
        if parked is not None:
            return self._propose(parked)
        if self.is_done or self._ledger.has_parked:
            return None
        trial = self._mirror.trial(self._redo.pop(0)) if self._redo else self._new_trial()
        config = self._configure(trial.number, self._sample(trial))
        self._mirror.keep(trial.number)
        if self._ledger.is_running(config):
            self._ledger.park(config)
            return None
        return self._propose(config)

    def put_back(self, config: TrialConfig) -> None:
        """A trial was interrupted: it stays RUNNING in Optuna and is the next to be run."""
        self._ledger.stop(config)
        self._redo.insert(0, config.number)

    def note_loss(self, number: int, rung: int, validation_loss: float) -> None:
        """Let a running trial's validation loss at a rung count before the trial itself is judged."""
        self._mirror.note_loss(number, rung, validation_loss)

    def report(self, number: int, rung: int, validation_loss: float) -> bool:
        """Note a running trial's validation loss at a rung, counted from 1; True where the pruner would end it.

        A trial that has been trained to its end is scored, whatever its loss.
        """
        self._mirror.report(number, rung, validation_loss)
        is_last = rung >= self._spec.methods[self._method].training.validations
        return not is_last and self._mirror.trial(number).should_prune()

    def tell(self, record: TrialRecord) -> None:
        """Tell Optuna of a record that has just been written."""
        self._ledger.add(record)
        self._mirror.tell(record, worst_value=self._ledger.worst_value(record.config.number))

    def _propose(self, config: TrialConfig) -> Proposal:
        known = self._ledger.find(config)
        refusal = self._refuse(config) if known is None else None
        if known is None and refusal is None:
            self._ledger.start(config)
        return Proposal(config, known, refusal)

    def _configure(self, number: int, params: Params) -> TrialConfig:
        try:
            return configure(
                self._spec,
                self._method,
                params,
                phase="search",
                number=number,
                seed=self._spec.seed,
                data_root=self._data_root,
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(
                f"search_space: {self._method} cannot be trained with {dict(params)}: {reason}. Narrow the ranges."
            ) from error

    @property
    def _sampler_name(self) -> str:
        name = self._spec.sampler.name
        return "random" if name != "grid" and self._ledger.fruitless >= RANDOM_AFTER_FRUITLESS else name

    def _new_trial(self) -> optuna.Trial:
        trials = self._mirror.trials()
        if self._sampler_name == "gp" and not any(trial.state == TrialState.WAITING for trial in trials):
            params = propose_gp(
                self._mirror.study,
                space.distributions(self._dimensions),
                proposal_seeds(self._spec, self._method, len(trials)),
                value_of_pruned=self._value_of_pruned,
            )
            self._mirror.study.enqueue_trial(params)
        return self._mirror.study.ask()

    def _sample(self, trial: optuna.Trial) -> Params:
        study = self._mirror.study
        neutral = study.sampler
        # What the GP proposed is in the trial already; what a starting point leaves open is drawn at random.
        name = "random" if self._sampler_name == "gp" else self._sampler_name
        study.sampler = build_sampler(name, proposal_seeds(self._spec, self._method, trial.number))
        try:
            return space.sample(trial, self._dimensions)
        finally:
            study.sampler = neutral

    def _value_of_pruned(self, trial: FrozenTrial) -> float:
        # A pruned trial's last validation loss is an honest guess at its objective only where that is the same loss.
        if self._spec.objective.metric == "own/loss" and trial.value is not None:
            return trial.value
        return self._ledger.worst_value()

    def _enqueue_starting_points(self) -> None:
        # They hold the first numbers, so the number of trials says how many of them are in the storage.
        known = len(self._mirror.trials())
        for point in space.starting_points(self._spec, self._method)[known:]:
            self._mirror.study.enqueue_trial(space.encode_params(point))


def _configs_on_disk(run: RunDirectory, method: str, known: Mapping[int, TrialConfig]) -> dict[int, TrialConfig]:
    parent = run.search_trial(method, 0).path.parent
    # Whoever has a record is known by it: reading YAML takes longer than all else of a resumption.
    paths = (
        path
        for path in parent.glob("*/config.yaml")
        if path.parent.name.isdecimal() and int(path.parent.name) not in known
    )
    return {**known, **{config.number: config for path in paths for config in _readable(path)}}


def _readable(path: Path) -> Iterator[TrialConfig]:
    """A config, unless it is damaged: it is of a trial that has not ended, whose params Optuna knows too."""
    with contextlib.suppress(RunDirectoryError):
        yield read_config(path)
