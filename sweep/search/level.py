"""An Optuna study that is asked in memory, and its copy in a database that is brought level with it.

Asking and telling a database takes a dozen transactions a trial; writing what has changed takes three. The database is
for whoever looks at the study from outside, and for the next run: after the beginning nothing is read from it.
"""

import copy
import math
from typing import Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import RunDirectoryError, StorageLostError

Direction = Literal["maximize", "minimize"]


class LeveledStudy:
    """A study in memory that begins as its copy in a database is."""

    def __init__(
        self, name: str, *, database: BaseStorage, direction: Direction, sampler: BaseSampler, pruner: BasePruner
    ) -> None:
        """Opens the study in the database, or makes it there. `sampler` and `pruner` see the one in memory."""
        optuna.create_study(study_name=name, storage=database, direction=direction, load_if_exists=True)
        self._database = database
        self._copy_id = database.get_study_id_from_name(name)
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(
            study_name=name, storage=self._memory, direction=direction, sampler=sampler, pruner=pruner
        )
        self._study_id = self._memory.get_study_id_from_name(name)
        self._notes = dict(database.get_study_system_attrs(self._copy_id))
        """What samplers have noted of the study itself, as it is in the database."""
        for key, note in self._notes.items():
            self._memory.set_study_system_attr(self._study_id, key, note)
        self._written: list[tuple[int, FrozenTrial]] = []
        """By number, each trial's id in the database, and the trial as it is there."""
        for trial in sorted(database.get_all_trials(self._copy_id), key=lambda trial: trial.number):
            here = self._memory.create_new_trial(self._study_id, template_trial=trial)
            there = database.get_trial_id_from_study_id_trial_number(self._copy_id, trial.number)
            self._written.append((there, _copied(self._memory.get_trial(here))))

    @property
    def study(self) -> optuna.Study:
        """The study that is asked."""
        return self._study

    @property
    def memory(self) -> BaseStorage:
        """Its storage."""
        return self._memory

    def trial_id(self, number: int) -> int:
        """A trial's id in memory."""
        return self._memory.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def level_all(self) -> None:
        """Write all that the database does not know. What only waits to be asked is queued anew by the next run."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state != TrialState.WAITING:
                self.level(trial.number)

    def level(self, number: int) -> None:
        """Write what the database does not know of one trial, and those before it that it does not know at all.

        Raises RunDirectoryError where something else has added trials to the study, and StorageLostError where some
        have gone.
        """
        for missing in range(len(self._written), number + 1):
            self._add(self._now(missing))
        for key, note in self._memory.get_study_system_attrs(self._study_id).items():
            if key not in self._notes or self._notes[key] != note:
                self._database.set_study_system_attr(self._copy_id, key, note)
                self._notes[key] = note
        there, then = self._written[number]
        now = self._now(number)
        if not then.state.is_finished():
            self._update(there, then, now)
            self._written[number] = (there, _copied(now))

    def _now(self, number: int) -> FrozenTrial:
        return self._memory.get_trial(self.trial_id(number))

    def _add(self, trial: FrozenTrial) -> None:
        self._refuse_forgetful()
        there = self._database.create_new_trial(self._copy_id, template_trial=trial)
        if self._database.get_trial_id_from_study_id_trial_number(self._copy_id, trial.number) != there:
            raise RunDirectoryError(
                f"storage: something else has added trial {trial.number} to Optuna study {self._study.study_name}. "
                "Give the study another name, or a storage of its own."
            )
        self._written.append((there, _copied(trial)))

    def _refuse_forgetful(self) -> None:
        """A database that was set back would give the number of an earlier trial to the next one."""
        if not self._written:
            return
        there, last = self._written[-1]
        try:
            found = self._database.get_trial_id_from_study_id_trial_number(self._copy_id, last.number)
        except KeyError:
            found = None
        if found != there:
            raise StorageLostError(
                f"storage: Optuna study {self._study.study_name} has lost trial {last.number}. All trials that ended "
                "are saved; the same `sweep run` tells it again and goes on."
            )

    def _update(self, there: int, then: FrozenTrial, now: FrozenTrial) -> None:
        if then.state == TrialState.WAITING != now.state:
            self._database.set_trial_state_values(there, TrialState.RUNNING)
        for name in now.params.keys() - then.params.keys():
            distribution = now.distributions[name]
            self._database.set_trial_param(there, name, distribution.to_internal_repr(now.params[name]), distribution)
        for rung, value in now.intermediate_values.items():
            if not _same(then.intermediate_values.get(rung), value):
                self._database.set_trial_intermediate_value(there, rung, value)
        for key, attribute in now.system_attrs.items():
            if key not in then.system_attrs or then.system_attrs[key] != attribute:
                self._database.set_trial_system_attr(there, key, attribute)
        if now.state.is_finished():
            self._database.set_trial_state_values(there, now.state, now.values)


def _copied(trial: FrozenTrial) -> FrozenTrial:
    """As it is now: Optuna goes on to change the dictionaries of what it has given away."""
    kept = copy.copy(trial)
    kept.params, kept.system_attrs = dict(trial.params), dict(trial.system_attrs)
    kept.intermediate_values = dict(trial.intermediate_values)
    return kept


def _same(then: float | None, now: float) -> bool:
    return then is not None and (then == now or (math.isnan(then) and math.isnan(now)))
