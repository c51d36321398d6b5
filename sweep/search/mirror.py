"""One method's study in Optuna's storage, kept as a mirror of the records on disk.

The records lead: whatever the storage does not know is told again, and a storage that was lost is built anew. Trials
keep their numbers, because a number is also the name of a directory. What is asked is a copy in memory, of which the
storage is a copy in turn.
"""

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sweep import space
from sweep.addresses import is_server_database, with_driver
from sweep.config import TrialConfig, fill_method
from sweep.database import refused
from sweep.errors import InputError, RunDirectoryError
from sweep.record import TrialRecord
from sweep.rungs import Stretch, stretch
from sweep.search.level import LeveledStudy
from sweep.search.patience import PATIENCE_SECONDS, PatientStorage, Say
from sweep.search.samplers import (
    FEASIBLE,
    FEASIBLE_VALUE,
    INFEASIBLE_VALUE,
    build_pruner,
    build_sampler,
    proposal_seeds,
)
from sweep.spec import StudySpec

INFEASIBLE = frozenset({"out_of_memory", "infeasible", "diverged", "deadline"})
"""Failures that say something about the config, which Optuna must learn from: it never looks at FAIL."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Where Optuna keeps its studies."""

    url: str
    """Address of a database, its variables filled in."""
    patience_seconds: float = PATIENCE_SECONDS
    """How long a server may stay away in the middle of a study."""

    @contextmanager
    def opened(self, say: Say) -> Iterator[BaseStorage]:
        """Open it for a while; `say` hears of a server that goes away and comes back. Raises InputError."""
        storage = open_storage(self.url, say=say, patience_seconds=self.patience_seconds)
        try:
            yield storage
        finally:
            storage.engine.dispose()


def open_storage(
    url: str, *, say: Say = lambda _: None, patience_seconds: float = PATIENCE_SECONDS
) -> RDBStorage | PatientStorage:
    """Open an Optuna storage. Raises InputError where the URL leads nowhere."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = with_driver(url)
    try:
        if is_server_database(url):
            return PatientStorage(url, say=say, patience_seconds=patience_seconds)
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, InputError, OptunaError) as error:
        raise refused(error, url, key="storage") from error


def set_damaged_aside(path: Path) -> Path | None:
    """Give a database file that SQLite finds damaged another name, under which it is kept; gives that name.

    Nothing is lost by it: a new one is filled from the records.
    """
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()
            if found == ("ok",):
                return None
    except sqlite3.OperationalError:
        # A disk that cannot be read, or a lock: whoever opens the database next says so.
        return None
    except sqlite3.DatabaseError:
        pass
    number = next(number for number in itertools.count(1) if not _damaged(path, number).exists())
    return path.rename(_damaged(path, number))


def _damaged(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


class OptunaMirror:
    """A method's Optuna study: reading it, and telling it what happened."""

    def __init__(
        self, spec: StudySpec, method: str, *, storage: BaseStorage, rows: Callable[[], int | None] = lambda: None
    ) -> None:
        """`rows` is asked as trials run, by when the number of training rows is known."""
        self._spec = spec
        self._method = method
        self._rows = rows
        self._dimensions = space.for_method(spec, method)
        self._distributions = space.distributions(self._dimensions)
        self._loss_sign = -1.0 if spec.objective.direction == "maximize" else 1.0
        # This sampler never proposes. Telling goes through it because some real ones, when told, stop a loop that does
        # not exist here, or warn about constraints.
        self._leveled = LeveledStudy(
            f"{spec.name}/{method}",
            database=storage,
            direction=spec.objective.direction,
            sampler=build_sampler("random", proposal_seeds(spec, method, 0)),
            pruner=build_pruner(
                spec.pruner, validations=spec.methods[method].training.validations, stretch_of=self._stretch_of
            ),
        )
        self._study, self._storage = self._leveled.study, self._leveled.memory

    @property
    def study(self) -> optuna.Study:
        """The study itself, for asking."""
        return self._study

    def trials(self) -> list[FrozenTrial]:
        """Every trial that Optuna knows, by number."""
        return self._study.get_trials(deepcopy=False)

    def trial(self, number: int) -> optuna.Trial:
        """A trial that has not ended."""
        return optuna.trial.Trial(self._study, self._trial_id(number))

    def keep(self, number: int) -> None:
        """Write a trial that has been asked for."""
        self._leveled.level(number)

    def report(self, number: int, rung: int, validation_loss: float) -> None:
        """Note a validation loss at a rung, counted from 1.

        Not by `Trial.report`, which keeps the first value where a trial is run again. A pruner compares in the study's
        direction, while a loss is always to be small.
        """
        self.note_loss(number, rung, validation_loss)
        self._leveled.level(number)

    def tell(self, record: TrialRecord, *, worst_value: float) -> None:
        """Tell the outcome of a trial that Optuna holds as unfinished."""
        self._tell(record, worst_value)
        self._leveled.level(record.config.number)

    def note_loss(self, number: int, rung: int, validation_loss: float) -> None:
        """Note a validation loss in memory alone, where the pruner sees it."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), rung, self._loss_sign * validation_loss)

    def _tell(self, record: TrialRecord, worst_value: float) -> None:
        number = record.config.number
        for rung, validation_loss in record.intermediate.items():
            self.note_loss(number, rung, validation_loss)
        kind = None if record.failure is None else record.failure.kind
        if record.state == "FAIL" and kind not in INFEASIBLE:
            self._study.tell(number, state=TrialState.FAIL)
            return
        # Every trial that a sampler may look at has the constraint: the GP refuses a study where only some have it.
        trial = self.trial(number)
        if FEASIBLE not in trial.constraints:
            trial.set_constraint(FEASIBLE, INFEASIBLE_VALUE if kind in INFEASIBLE else FEASIBLE_VALUE)
        if record.state == "PRUNED":
            self._study.tell(number, state=TrialState.PRUNED)
        else:
            # An infeasible trial gets the worst value, so that a sampler that knows no constraints keeps away too.
            self._study.tell(number, worst_value if record.objective is None else record.objective)

    def reconcile(
        self,
        records: Mapping[int, TrialRecord],
        configs: Mapping[int, TrialConfig],
        *,
        worst_value: Callable[[int], float],
    ) -> Iterator[int]:
        """Bring Optuna up to what is on disk; give the numbers of trials that have to be run again.

        `worst_value` is the worst objective of the trials before a number.
        """
        self._add_missing(configs)
        for trial in self.trials():
            record = records.get(trial.number)
            if record is None:
                self._refuse_foreign(trial)
                if trial.state == TrialState.RUNNING:
                    yield trial.number
            elif not trial.state.is_finished():
                self._fill(trial, record)
                self._tell(record, worst_value(trial.number))
        self._leveled.level_all()

    def _add_missing(self, configs: Mapping[int, TrialConfig]) -> None:
        for number in range(len(self.trials()), max(configs, default=-1) + 1):
            config = configs.get(number)
            # A number that left nothing on disk never started; it is filled so that those after it keep theirs.
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.FAIL if config is None else TrialState.RUNNING,
                    params={} if config is None else space.encode_params(config.params),
                    distributions={} if config is None else self._distributions,
                )
            )

    def _fill(self, trial: FrozenTrial, record: TrialRecord) -> None:
        """Give an unfinished trial of an older copy of the storage what its record knows."""
        trial_id = self._trial_id(trial.number)
        if trial.state == TrialState.WAITING:
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        for name, value in space.encode_params(record.config.params).items():
            if name not in trial.params:
                distribution = self._distributions[name]
                self._storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)

    def _refuse_foreign(self, trial: FrozenTrial) -> None:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            place, remedy = "storage", "Give the study another name, or a storage of its own."
            if self._spec.storage is None:
                place = "optuna.db"
                remedy = (
                    f"Bring search/{self._method}/{trial.number:04d} back from a copy; or remove optuna.db, which is "
                    "then built anew from the records that are left."
                )
            raise RunDirectoryError(
                f"{place}: trial {trial.number} of Optuna study {self._study.study_name} has ended, and this run "
                f"directory has no record of it. {remedy}"
            )

    def _stretch_of(self, trial: FrozenTrial) -> Stretch:
        params = {
            name: space.decode(dimension, trial.params[name])
            for name, dimension in self._dimensions.items()
            if name in trial.params
        }
        return stretch(fill_method(self._spec, self._method, params).training, self._rows())

    def _trial_id(self, number: int) -> int:
        return self._leveled.trial_id(number)
