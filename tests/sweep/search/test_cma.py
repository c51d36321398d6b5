"""The state of CMA-ES is read from a storage as numbers, whoever wrote it there."""

import pickle
from pathlib import Path

import numpy as np
import optuna
import pytest
from cmaes import CMA

from sweep.errors import RunDirectoryError
from sweep.search.cma import GuardedCmaEs, read_state


class Trap:
    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


def quadratic(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", -1, 1) ** 2 + trial.suggest_float("y", -1, 1) ** 2


def test_a_state_is_read_back_as_it_was() -> None:
    written = CMA(mean=np.array([0.25, 0.5]), sigma=0.3, seed=7)
    written.tell([(written.ask(), float(value)) for value in range(written.population_size)])

    read = read_state(pickle.dumps(written).hex(), 3)

    assert read.generation == 1
    assert np.array_equal(read._mean, written._mean)
    assert np.array_equal(read._C, written._C)


def test_a_study_proposes_as_with_optunas_own_reader() -> None:
    found = []
    for sampler in (optuna.samplers.CmaEsSampler, GuardedCmaEs):
        study = optuna.create_study(sampler=sampler(seed=5, n_startup_trials=2, warn_independent_sampling=False))
        study.optimize(quadratic, n_trials=20)
        found.append([trial.params for trial in study.get_trials()])

    assert found[0] == found[1]


@pytest.mark.parametrize("state", ["", "zz", "80", pickle.dumps(print).hex(), pickle.dumps(eval).hex()])
def test_anything_else_is_refused(state) -> None:
    with pytest.raises(RunDirectoryError, match="trial 3 holds of CMA-ES is not what CMA-ES wrote"):
        read_state(state, 3)


def test_a_trap_in_a_storage_is_not_sprung(tmp_path) -> None:
    study = optuna.create_study(sampler=GuardedCmaEs(seed=5, n_startup_trials=2, warn_independent_sampling=False))
    study.optimize(quadratic, n_trials=12)
    state = pickle.dumps(Trap(tmp_path / "sprung")).hex()
    for trial in study.get_trials(deepcopy=False):
        for key in [key for key in trial.system_attrs if "optimizer" in key]:
            study._storage._get_trial(trial._trial_id).system_attrs[key] = state

    with pytest.raises(RunDirectoryError, match=r"Path\.touch is no part of it|pathlib"):
        study.optimize(quadratic, n_trials=1)

    assert not (tmp_path / "sprung").exists()
