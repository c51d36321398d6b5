"""Passwords in addresses: what is shown of them, where they come from, and that none is written down."""

from pathlib import Path

import pytest
from toy_runner import toy_study

from sweep.addresses import fill_in, hide, hide_passwords, is_server_database, masked, with_driver
from sweep.connections import connection_problems, connections
from sweep.errors import InputError
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_study

AWKWARD = "a@b/c:d?e#f%{g} h"
ENCODED = "a%40b%2Fc%3Ad%3Fe%23f%25%7Bg%7D%20h"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:geheim@host/db", "postgresql://***@host/db"),
        ("postgresql://me:ge@heim@host/db", "postgresql://***@host/db"),
        ("postgresql://me:ge/h:e?i m@host/db", "postgresql://***@host/db"),
        ("mysql://host/db?user=me&password=geheim&x=1", "mysql://host/db?user=me&password=***&x=1"),
        ("https://geheim@host/", "https://***@host/"),
        ("postgresql://me:${PASSWORD}@host/db", "postgresql://me:${PASSWORD}@host/db"),
        ("postgresql://me:ge${PART}@host/db", "postgresql://***@host/db"),
        ("https://${TOKEN}@host/", "https://${TOKEN}@host/"),
        ("mysql://host/db?password=${PASSWORD}", "mysql://host/db?password=${PASSWORD}"),
        ("sqlite:////runs/optuna.db", "sqlite:////runs/optuna.db"),
        ("http://host:5000/mlflow", "http://host:5000/mlflow"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://me:${PORT}/db", "postgresql://me:${PORT}/db"),
        ("mysql://[::1]:3306/db", "mysql://[::1]:3306/db"),
    ],
)
def test_an_address_is_shown_without_its_password_but_with_the_variable_it_comes_from(address: str, shown: str) -> None:
    assert masked(address) == shown
    assert masked(shown) == shown
    if " " not in address:
        assert hide_passwords(f"first {address}, then more") == f"first {shown}, then more"


def test_a_variable_may_hold_any_character_where_a_password_stands_and_a_port_where_a_host_does() -> None:
    environment = {"PASSWORD": AWKWARD, "HOST": "db.example:5433"}

    filled = fill_in("postgresql://me:${PASSWORD}@${HOST}/db?sslpassword=${PASSWORD}", environment, key="storage")

    assert filled == f"postgresql://me:{ENCODED}@db.example:5433/db?sslpassword={ENCODED}"


def test_a_variable_that_is_the_whole_address_is_taken_as_it_is() -> None:
    assert fill_in("${URL}", {"URL": "mysql://me:a%40b@host/db"}, key="storage") == "mysql://me:a%40b@host/db"


def test_a_variable_that_is_not_set_is_named_with_the_key() -> None:
    with pytest.raises(InputError, match=r"^storage: the environment variable PASSWORD is not set.*\.$"):
        fill_in("postgresql://me:${PASSWORD}@host/db", {}, key="storage")


@pytest.mark.parametrize("form", [AWKWARD, ENCODED, "b/c:d?e#f%{g} h"])
def test_whatever_form_a_library_repeats_a_password_in_it_is_hidden(form: str) -> None:
    address = (
        f"postgresql://me:{ENCODED}@host/db" if form != "b/c:d?e#f%{g} h" else f"postgresql://me:{AWKWARD}@host/db"
    )

    assert "d?e" not in hide(f"could not look {form} up", address)
    assert ENCODED not in hide(f"could not look {form} up", address)


def test_the_driver_is_filled_in_where_none_is_named() -> None:
    assert with_driver("postgresql://host/db") == "postgresql+psycopg://host/db"
    assert with_driver("postgres://host/db") == "postgresql+psycopg://host/db"
    assert with_driver("MySQL://host/db") == "mysql+pymysql://host/db"
    assert with_driver("mariadb://host/db") == "mysql+pymysql://host/db"
    assert with_driver("postgresql+psycopg2://host/db") == "postgresql+psycopg2://host/db"
    assert with_driver("sqlite:///optuna.db") == "sqlite:///optuna.db"
    assert is_server_database("mysql+mysqldb://host/db")
    assert not any(is_server_database(address) for address in ("sqlite:///optuna.db", "https://host", "${URL}"))


def stored(storage: str, tracking_uri: str) -> StudySpec:
    return toy_study(storage=storage, tracking={"tracking_uri": tracking_uri})


def test_a_study_is_written_down_and_shown_without_passwords_and_keeps_them_in_memory(tmp_path: Path) -> None:
    spec = stored("postgresql://me:geheim@host/db", "https://me:streng@host")
    run = RunDirectory(tmp_path / "run")

    write_study(run, spec)

    for text in (run.study_file.read_text(), spec.model_dump_json(), repr(spec), str(spec)):
        assert "geheim" not in text
        assert "streng" not in text
    assert run.read_study().storage == "postgresql://***@host/db"
    assert spec.storage == "postgresql://me:geheim@host/db"
    assert connections(spec, {}).tracking == "https://me:streng@host"


def test_a_variable_is_written_down_as_its_name(tmp_path: Path) -> None:
    spec = stored("postgresql://me:${PASSWORD}@host/db", "${MLFLOW}")
    run = RunDirectory(tmp_path / "run")

    write_study(run, spec)

    assert run.read_study() == spec
    reached = connections(run.read_study(), {"PASSWORD": "geheim", "MLFLOW": "https://host"})
    assert (reached.storage, reached.tracking) == ("postgresql://me:geheim@host/db", "https://host")
    assert "geheim" not in repr(reached)


MYSQL = ("local_infile=1", "allow_local_infile=true", "read_default_file=/srv/me/.my.cnf")
POSTGRESQL = ("hostaddr=10.0.0.1", "passfile=/srv/me/.pgpass", "service=production")


@pytest.mark.parametrize(
    ("driver", "asked"),
    [
        *((driver, asked) for driver in ("mysql", "mariadb", "mysql+pymysql", "mysql+mysqldb") for asked in MYSQL),
        *((driver, asked) for driver in ("postgresql", "postgresql+psycopg") for asked in POSTGRESQL),
    ],
)
def test_no_address_lets_a_server_have_what_files_hold(driver: str, asked: str) -> None:
    asks = toy_study(
        storage=f"{driver}://me:geheim@127.0.0.1:1/db?{asked}",
        tracking={"tracking_uri": f"{driver}://me:geheim@127.0.0.1:1/db?charset=utf8&{asked}"},
    )

    problems = connection_problems(asks, {}, ask_tracking=False)

    assert [problem.partition(":")[0] for problem in problems] == ["storage", "tracking.tracking_uri"]
    assert all(
        f"{asked.partition('=')[0]} would give the server what files of this machine hold" in one for one in problems
    )
    assert "geheim" not in str(problems)
