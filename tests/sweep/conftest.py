"""Servers, benches and empty databases for the tests of the sweep."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench import Bench
    from databases import MariaDb, Postgres
    from lab import Lab


@pytest.fixture(scope="session")
def empty_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Optuna database with its tables and nothing in them: making one takes longer than most tests that need one."""
    from sweep.search.mirror import open_storage

    path = tmp_path_factory.mktemp("optuna") / "optuna.db"
    open_storage(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    from databases import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> "Iterator[MariaDb]":
    from databases import mariadb_server

    with mariadb_server() as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, empty_storage: Path) -> "Callable[..., Bench]":
    from bench import Bench
    from toy_runner import toy_study

    from sweep.store import RunDirectory

    def build(name: str = "run", **changes: object) -> Bench:
        run = RunDirectory(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        shutil.copy(empty_storage, run.optuna_db)
        return Bench(toy_study(**changes), run)

    return build


@pytest.fixture
def lab(tmp_path: Path, empty_storage: Path) -> "Lab":
    from lab import Lab

    here = Lab(tmp_path)
    here.run.path.mkdir(parents=True)
    shutil.copy(empty_storage, here.run.optuna_db)
    return here
