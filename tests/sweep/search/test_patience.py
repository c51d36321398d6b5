"""Optuna's storage on real servers that lose answers, go away, come back, and come back set back."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from bench import Bench, complete
from cutter import Cutter
from databases import MariaDb, Postgres, execute
from toy_runner import record, toy_study

from sweep.errors import InputError, StorageLostError
from sweep.record import TrialRecord
from sweep.search.method_search import MethodSearch, Proposal
from sweep.search.mirror import Storage
from sweep.store import RunDirectory

Server = Postgres | MariaDb


@pytest.fixture(params=["postgres", pytest.param("mariadb", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def text_of(address: sqlalchemy.URL) -> str:
    return address.render_as_string(hide_password=False)


def mixed(proposal: Proposal) -> TrialRecord:
    """Every way in which a trial may end, one after another."""
    if proposal.config.number % 4 == 1:
        return record(proposal.config, state="PRUNED", intermediate={1: 3.0})
    if proposal.config.number % 4 == 2:
        return record(proposal.config, state="FAIL", kind="out_of_memory")
    if proposal.config.number % 4 == 3:
        return record(proposal.config, state="FAIL", kind="worker_died")
    return complete(proposal)


STUDY = {"sampler": {"name": "tpe", "n_startup_trials": 3}, "budget": {"trials_per_method": 8}}


class Searches:
    """A method's search whose storage is opened as a study opens it."""

    def __init__(self, bench: Bench, storage: Storage) -> None:
        self.bench = bench
        self.said: list[str] = []
        self._storage = storage

    @contextmanager
    def opened(self) -> Iterator[MethodSearch]:
        here = self.bench
        with self._storage.opened(self.said.append) as storage:
            yield MethodSearch(
                here.spec, here.method, run=here.run, storage=storage, data_root=Path("/data"), baseline=9.0
            )

    def drive(self, trials: int = 1000) -> list[TrialRecord]:
        with self.opened() as search:
            return self.bench.drive(search, mixed, trials=trials)


def known(trials: list[optuna.trial.FrozenTrial]) -> list[object]:
    """What follows from records; a sampler's notes to itself are not among it."""
    return [(t.number, t.state, t.values, t.params, t.intermediate_values, t.constraints) for t in trials]


@pytest.fixture
def expected(bench: Callable[..., Bench]) -> list[object]:
    """What Optuna knows after the same search in a file."""
    here = bench("file", **STUDY)
    here.drive(here.open(), mixed)
    return known(here.optuna())


@pytest.fixture
def here(tmp_path: Path) -> Bench:
    return Bench(toy_study(**STUDY), RunDirectory(tmp_path / "run"))


def optunas(address: sqlalchemy.URL) -> list[object]:
    storage = optuna.storages.RDBStorage(text_of(address).replace("{", "{{").replace("}", "}}"))
    try:
        return known(optuna.load_study(study_name="toy/lora", storage=storage).get_trials())
    finally:
        storage.engine.dispose()


def test_a_search_is_the_same_in_a_servers_database_whose_driver_is_not_named(
    here: Bench, server: Server, expected: list[object]
) -> None:
    address = server.address(server.new_database())
    short = text_of(address.set(drivername=address.get_backend_name()))
    searches = Searches(here, Storage(short))

    searches.drive(trials=5)
    searches.drive()

    assert optunas(address) == expected
    assert searches.said == []


def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_done_twice(
    here: Bench, server: Server, expected: list[object]
) -> None:
    address = server.address(server.new_database())
    Searches(here, Storage(text_of(address))).drive(trials=1)

    with Cutter(("127.0.0.1", server.port)) as wire:
        with Searches(here, Storage(text_of(address.set(port=wire.port)))).opened() as search:
            wire.every = 3
            here.drive(search, mixed)
        cuts = wire.cuts

    assert cuts > 10
    assert optunas(address) == expected
    assert len({entry.config.number for entry in here.run.search_records("lora")}) == len(expected)


@pytest.fixture
def away(server: Server) -> Iterator[Server]:
    """A server that a test may stop; it is there again afterwards."""
    yield server
    if server.process is None:
        server.start()


def test_a_server_that_is_away_is_waited_for_and_announced_once(
    here: Bench, away: Server, expected: list[object]
) -> None:
    address = away.address(away.new_database())
    searches = Searches(here, Storage(text_of(address)))
    searches.drive(trials=2)
    with searches.opened() as search:
        outcomes = itertools.count()

        def outcome(proposal: Proposal) -> TrialRecord:
            if next(outcomes) == 1:
                away.stop()
                threading.Timer(1.0, away.start).start()
            return mixed(proposal)

        here.drive(search, outcome)

    assert optunas(address) == expected
    assert [line.split(" is ")[1].split()[0] for line in searches.said] == ["away", "back"]
    assert "efused" in searches.said[0]
    assert away.password not in "".join(searches.said)


def test_patience_has_an_end_and_what_ended_is_told_on_the_next_run(
    here: Bench, away: Server, expected: list[object]
) -> None:
    address = away.address(away.new_database())
    searches = Searches(here, Storage(text_of(address), patience_seconds=0.5))
    searches.drive(trials=2)
    with searches.opened() as search:
        proposal = search.ask()
        assert proposal is not None
        away.stop()
        began = time.monotonic()
        with pytest.raises(StorageLostError, match=r"stayed away for 0 s \(.*efused.*\)\. All trials .* goes on\.$"):
            here.end(search, mixed(proposal))

    assert time.monotonic() - began < 5
    with pytest.raises(InputError, match=r"^storage: .* cannot be opened: .*efused"):
        searches.drive()
    away.start()
    searches.drive()
    assert optunas(address) == expected
    assert [line.split(" is ")[1].split()[0] for line in searches.said] == ["away"]


def test_a_database_that_was_set_back_ends_the_run_before_a_record_is_overwritten_and_the_next_mends_it(
    here: Bench, postgres: Postgres, expected: list[object]
) -> None:
    address = postgres.address(postgres.new_database())
    searches = Searches(here, Storage(text_of(address)))
    searches.drive(trials=2)
    copy = f"{address.database}_copy"
    execute(postgres.address("postgres"), f"CREATE DATABASE {copy} TEMPLATE {address.database}")

    def set_back() -> None:
        execute(postgres.address("postgres"), f"DROP DATABASE {address.database} WITH (FORCE)")
        execute(postgres.address("postgres"), f"ALTER DATABASE {copy} RENAME TO {address.database}")

    with searches.opened() as search:
        here.drive(search, mixed, trials=2)
        written = {path: path.read_bytes() for path in here.run.path.rglob("record.json")}
        set_back()
        with pytest.raises(StorageLostError, match="lost"):
            here.drive(search, mixed)

    assert len(written) == 4
    assert {path: path.read_bytes() for path in written} == written
    searches.drive()
    assert optunas(address) == expected


def test_a_database_that_is_gone_ends_the_run_with_one_line(here: Bench, postgres: Postgres) -> None:
    address = postgres.address(postgres.new_database())
    searches = Searches(here, Storage(text_of(address), patience_seconds=0.5))
    searches.drive(trials=2)
    with searches.opened() as search:
        proposal = search.ask()
        assert proposal is not None
        execute(postgres.address("postgres"), f"DROP DATABASE {address.database} WITH (FORCE)")
        with pytest.raises(StorageLostError, match="does not exist"):
            here.end(search, mixed(proposal))
