"""Optuna's storage follows the records on disk: told again, filled, or built anew."""

import shutil
from collections.abc import Callable

import optuna
import pytest
from bench import Bench, complete
from toy_runner import record

from sweep.errors import InputError, RunDirectoryError
from sweep.record import TrialRecord
from sweep.search.method_search import Proposal
from sweep.search.mirror import open_storage
from sweep.store import write_config, write_record
from sweep.study.sources import with_objective


def test_what_optuna_was_not_told_is_told_on_opening(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "random"})
    search = here.open()
    proposal = search.ask()
    assert proposal is not None
    ended = with_objective(complete(proposal), here.spec.objective, is_required=True)
    write_record(here.run.directory_of(ended.config), ended)

    here.open()

    assert [trial.value for trial in here.optuna() if trial.state.is_finished()] == [ended.objective]


def test_a_lost_storage_is_built_anew_from_the_records(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "tpe", "n_startup_trials": 2}, budget={"trials_per_method": 6})
    outcomes = iter(["FAIL", "PRUNED", "COMPLETE", "COMPLETE"])

    def mixed(proposal: Proposal) -> TrialRecord:
        match next(outcomes):
            case "FAIL":
                return record(proposal.config, state="FAIL", kind="out_of_memory")
            case "PRUNED":
                return record(proposal.config, state="PRUNED", intermediate={1: 3.0})
            case _:
                return complete(proposal)

    search = here.open()
    here.drive(search, mixed, trials=4)
    lost = search.ask()
    assert lost is not None
    write_config(here.run.directory_of(lost.config), lost.config)
    before = here.optuna()
    here.run.optuna_db.unlink()

    rebuilt = here.open()

    def known(trials: list[optuna.trial.FrozenTrial]) -> list[object]:
        return [(t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values) for t in trials]

    assert known(here.optuna()) == known(before)
    again = rebuilt.ask()
    assert again is not None
    assert again.config == lost.config


def test_a_number_that_left_nothing_on_disk_is_filled_so_that_later_ones_fit(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "random"}, budget={"trials_per_method": 4})
    ended = here.drive(here.open(), complete, trials=3)
    shutil.rmtree(here.run.directory_of(ended[1].config).path)
    here.run.optuna_db.unlink()

    here.open()

    assert [trial.value for trial in here.optuna()] == [ended[0].objective, None, ended[2].objective]


def test_an_older_copy_of_the_storage_is_brought_up_to_the_records(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "random"}, budget={"trials_per_method": 4})
    search = here.open()
    here.drive(search, complete, trials=1)
    shutil.copy(here.run.optuna_db, here.run.path / "older.db")
    rest = here.drive(search, complete)
    before = here.optuna()
    shutil.move(here.run.path / "older.db", here.run.optuna_db)

    assert here.open().is_done
    assert len(rest) == 3
    assert [(t.params, t.value) for t in here.optuna()] == [(t.params, t.value) for t in before]


def test_a_storage_with_anothers_trials_is_refused(bench: Callable[..., Bench]) -> None:
    first, second = bench("first", sampler={"name": "random"}), bench("second", sampler={"name": "random"})
    second.url = f"sqlite:///{first.run.optuna_db}"
    first.drive(first.open(), complete)

    with pytest.raises(RunDirectoryError, match=r"no record of it.*\.$"):
        second.open()


def test_a_storage_that_cannot_be_opened_is_the_users_to_mend() -> None:
    with pytest.raises(InputError, match=r"^storage: nothing://here cannot be opened: .*\.$"):
        open_storage("nothing://here")
