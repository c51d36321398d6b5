"""Databases that cannot be used are refused in a line, without their passwords."""

import re
import sys
from pathlib import Path

import pytest
from database_study import Home, forms, text_of
from databases import MariaDb, Postgres
from toy_runner import toy_study

from sweep import cli
from sweep.connections import connection_problems


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


REFUSALS = {
    "refused login": ("postgres", {"password": "geheim-no"}, r'password authentication failed for user "sweep"'),
    "unknown database": ("postgres", {"database": "nowhere"}, r'database "nowhere" does not exist'),
    "nobody there": ("postgres", {"port": 1}, r"Connection refused"),
    "unknown host": ("postgres", {"host": "nowhere.invalid"}, r"failed to resolve host 'nowhere.invalid'"),
    "missing driver": ("postgres", {"drivername": "postgresql+psycopg2"}, r"No module named 'psycopg2'"),
    "unknown kind": ("postgres", {"drivername": "oracel"}, r"Can't load plugin"),
    "refused login to MariaDB": ("mariadb", {"password": "geheim-no"}, r"Access denied for user 'sweep'@'127.0.0.1'"),
    "unknown MariaDB database": ("mariadb", {"database": "nowhere"}, r"Unknown database 'nowhere'"),
    "MariaDB not there": ("mariadb", {"port": 1}, r"Can't connect to MySQL server on '127.0.0.1' \(.*refused\)"),
}


@pytest.mark.parametrize(
    ("server", "wrong", "reason"),
    [
        pytest.param(*refusal, id=name, marks=[pytest.mark.slow] if refusal[0] == "mariadb" else [])
        for name, refusal in REFUSALS.items()
    ],
)
def test_a_database_that_cannot_be_used_is_refused_in_one_line_that_says_why(
    request: pytest.FixtureRequest, server: str, wrong: dict[str, object], reason: str
) -> None:
    there: Postgres | MariaDb = request.getfixturevalue(server)
    address = there.address("postgres" if server == "postgres" else "mysql")
    wrong_one = text_of(address.set(**wrong))
    spec = toy_study(storage=wrong_one, tracking={"mlflow": False})

    problems = connection_problems(spec, {}, ask_tracking=True)

    assert connection_problems(toy_study(storage=text_of(address)), {}, ask_tracking=True) == []
    assert len(problems) == 1
    assert re.search(rf"^storage: \S+://\*\*\*@\S+ cannot be opened: [^\n]*{reason}[^\n]*\.$", problems[0])
    assert not any(form in problems[0] for form in forms(there.password) | {"geheim"})


def test_a_missing_driver_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    problems = connection_problems(toy_study(storage="postgresql://me:geheim@host/db"), {}, ask_tracking=True)

    assert len(problems) == 1
    assert problems[0].endswith('Its driver is missing: pip install "finetune-sweep[postgresql]".')


@pytest.mark.parametrize("address", ["postgresql://me:geheim", "postgresql://me:ge@heim@127.0.0.1/db"])
def test_an_address_written_wrong_is_refused_without_the_password_that_it_was_read_apart_at(address: str) -> None:
    problems = connection_problems(toy_study(storage=address), {}, ask_tracking=True)

    assert len(problems) == 1
    assert "heim" not in problems[0]
    assert problems[0].startswith("storage: ")


def test_an_override_that_is_refused_is_named_without_the_password_in_it(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("sqlite:///optuna.db")

    code = cli.main(["check", str(home.path / "study.yaml"), "--set", "stroage=postgresql://me:geheim@host/db"])

    said = capsys.readouterr()
    assert code == 2
    assert "unknown key 'stroage'" in said.err
    assert "geheim" not in said.out + said.err


def test_mlflows_database_is_asked_only_where_a_person_wants_to_know(postgres: Postgres) -> None:
    away = text_of(postgres.address("nowhere"))
    spec = toy_study(tracking={"tracking_uri": away})

    asked = connection_problems(spec, {}, ask_tracking=True)

    assert [line.partition(":")[0] for line in asked] == ["tracking.tracking_uri"]
    assert connection_problems(spec, {}, ask_tracking=False) == []
    unreadable = toy_study(tracking={"tracking_uri": "postgresql+nodriver://host/db"})
    assert len(connection_problems(unreadable, {}, ask_tracking=False)) == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_is_wrong_with_addresses_ends_a_command_before_anything_is_made(
    home: Home, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    home.write("postgresql://me:${NOWHERE}@127.0.0.1/db")
    where = [] if command == "check" else ["--runs", str(home.path / "runs"), "--cache", str(home.path)]

    code = cli.main([command, str(home.path / "study.yaml"), *where])

    said = capsys.readouterr()
    assert code == 2
    assert said.out + said.err == (
        "storage: the environment variable NOWHERE is not set, and the address refers to it.\n"
    )
    assert not home.run.path.exists()
