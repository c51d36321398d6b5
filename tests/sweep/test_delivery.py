"""What a person is told while MLflow is away, and what MLflow is told once it is back."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_runner import record, toy_study

from sweep.config import configure
from sweep.store import RunDirectory, write_record
from sweep.tracking.delivery import Courier
from sweep.tracking.ledger import Ledger


@dataclass
class ToyStore:
    """MLflow, which can be away."""

    is_away: bool = False
    rejected: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def open_study(self, *_: object) -> SimpleNamespace:
        self._refuse()
        return SimpleNamespace(is_new=True)

    def log_trial(self, _parent: object, _study: str, key: str, *_: object) -> None:
        self._refuse()
        self.logged.append(key)

    def _refuse(self) -> None:
        if self.is_away:
            raise ConnectionError("connection refused")


@dataclass
class Post:
    """A courier, its store, and what it said."""

    run: RunDirectory
    store: ToyStore
    said: list[dict[str, object]]
    courier: Courier

    def write(self, number: int) -> None:
        """A record is written, and the courier is sent."""
        spec = toy_study()
        config = configure(spec, "lora", {}, phase="search", number=number, seed=0, data_root=self.run.path)
        directory = self.run.directory_of(config)
        directory.path.mkdir(parents=True)
        write_record(directory, record(config))
        self.courier.told.append(directory.path.relative_to(self.run.path).as_posix())
        self.courier.deliver()

    @property
    def warnings(self) -> list[object]:
        return [line["warning"] for line in self.said if "warning" in line]


@pytest.fixture
def post(tmp_path: Path) -> Post:
    run, store, said = RunDirectory(tmp_path), ToyStore(), []
    return Post(run, store, said, Courier(run, "toy", {}, lambda: store, Ledger(run, "toy:"), said.append))


def test_a_server_that_goes_away_in_mid_study_costs_one_warning_for_all_records(post: Post) -> None:
    post.write(0)
    post.store.is_away = True
    # A record that is written later may be the first to be sent again.
    for number in (3, 2, 1):
        post.write(number)

    assert len(post.warnings) == 1
    assert "MLflow did not take search/lora/0003" in str(post.warnings[0])

    post.store.is_away = False
    post.write(4)

    assert sorted(post.store.logged) == [f"search/lora/000{number}" for number in range(5)]
    assert len(post.warnings) == 1


def test_a_server_that_goes_away_again_is_told_of_again(post: Post) -> None:
    post.write(0)
    for number in (1, 3):
        post.store.is_away = True
        post.write(number)
        post.store.is_away = False
        post.write(number + 1)

    assert len(post.warnings) == 2
    assert sorted(post.store.logged) == [f"search/lora/000{number}" for number in range(5)]
