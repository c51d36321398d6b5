"""Whole studies on database servers, by the `sweep` command: refused in a line, stopped and started, no password left.

Only training is a toy.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import optuna
import pytest
import sqlalchemy
from databases import MariaDb, Postgres, execute
from toy_runner import toy_study

from sweep import cli
from sweep.connections import connection_problems
from sweep.store import RunDirectory

SCRIPT = Path(__file__).parents[1] / "toys" / "sweep_with_toys.py"
STUDY = """
name: toy
model: {model_name_or_path: toy}
data: {train: rows.jsonl}
methods: [lora, full]
training: {validations: 2}
search_space: {training.learning_rate: {min: 1.0e-5, max: 1.0e-1, log: true}}
budget: {trials_per_method: 3, confirm_seeds: 1}
sampler: {name: random}
pruner: {name: none}
"""


@dataclass
class Home:
    """A directory with a study and its rows."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path / "runs" / "toy")

    @property
    def calls(self) -> list[str]:
        file = self.path / "cache" / "calls"
        return [line.rpartition(" ")[0] for line in file.read_text().splitlines()] if file.exists() else []

    def write(self, storage: str, tracking: str = "{mlflow: false}") -> None:
        (self.path / "cache").mkdir(exist_ok=True)
        rows = (f'{{"prompt": "{n}", "completion": "{n * n}"}}\n' for n in range(40))
        (self.path / "rows.jsonl").write_text("".join(rows))
        (self.path / "study.yaml").write_text(f"{STUDY}storage: '{storage}'\ntracking: {tracking}\n")

    def start(self, *arguments: str, seconds: float = 0.0) -> "subprocess.Popen[str]":
        known = ("PATH", "PYTHONPATH", "HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
        settings = {name: os.environ[name] for name in known if name in os.environ}
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=settings | self.environment | {"SWEEP_CACHE": str(self.path / "cache"), "TOY_SECONDS": str(seconds)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sweep(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def wait_for(self, calls: int, process: "subprocess.Popen[str]") -> None:
        until = time.monotonic() + 60
        while len(self.calls) < calls:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def text_of(address: sqlalchemy.URL) -> str:
    return address.render_as_string(hide_password=False)


def forms(password: str) -> set[str]:
    """Every way of writing a password that may be found."""
    return {password, quote(password), quote(password, safe=""), quote_plus(password), quote(password, safe=" +")}


def left_behind(directory: Path, password: str) -> list[str]:
    """Files that a password is found in, or in whose name."""
    found = [path for path in directory.rglob("*") if path.is_file()]
    return [
        str(path)
        for path in found
        if any(form.encode() in path.read_bytes() or form in path.name for form in forms(password))
    ]


def states(address: sqlalchemy.URL) -> Counter[str]:
    storage = optuna.storages.RDBStorage(text_of(address).replace("{", "{{").replace("}", "}}"))
    try:
        names = optuna.get_all_study_names(storage)
        assert sorted(names) == ["toy/full", "toy/lora"]
        trials = [trial for name in names for trial in optuna.load_study(study_name=name, storage=storage).get_trials()]
        return Counter(trial.state.name for trial in trials)
    finally:
        storage.engine.dispose()


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


def stop_in_the_middle(home: Home, server: Postgres | MariaDb, process: "subprocess.Popen[str]") -> str:
    """Stop the server while the third trial of the search runs, start it again, and give what the study printed."""
    home.wait_for(4, process)
    server.stop()
    time.sleep(2.0)
    server.start()
    said, _ = process.communicate(timeout=120)
    return said


@pytest.mark.slow
def test_a_server_stopped_and_started_in_mid_study_costs_no_trial_and_its_password_is_nowhere(
    home: Home, postgres: Postgres
) -> None:
    address = postgres.address(postgres.new_database())
    nowhere = text_of(postgres.address("nowhere"))
    home.write(text_of(address), tracking=f"{{tracking_uri: '{nowhere}'}}")
    process = home.start("run", "study.yaml", seconds=0.7)

    said = stop_in_the_middle(home, postgres, process)
    ran = home.calls
    more = ["--set", "budget.trials_per_method=4", "--set", f"storage={text_of(address)}"]
    code, again = home.sweep("run", "study.yaml", *more)
    _, shown = home.sweep("status", "runs/toy")

    assert process.returncode == 0, said
    assert [line.split(" is ")[1].split()[0] for line in said.splitlines() if line.startswith("storage:")] == [
        "away",
        "back",
    ]
    assert Counter(ran) == Counter(set(ran))
    assert len([call for call in ran if call.startswith("search")]) == 6
    assert "MLflow did not take study (tracking.tracking_uri: " in said
    assert 'database "nowhere" does not exist' in said
    assert code == 0, again
    assert states(address) == {"COMPLETE": 8}
    assert (home.run.report / "index.html").is_file()
    assert not any(form in said + again + shown for form in forms(postgres.password))
    (home.path / "study.yaml").unlink()
    assert left_behind(home.path, postgres.password) == []


@pytest.mark.slow
def test_mysql_stopped_and_started_in_mid_study_costs_no_trial(home: Home, mariadb: MariaDb) -> None:
    address = mariadb.address(mariadb.new_database())
    home.environment["SECRET"] = mariadb.password
    home.write(text_of(address.set(drivername="mysql", password="X")).replace(":X@", ":${SECRET}@"))
    process = home.start("run", "study.yaml", seconds=0.7)

    said = stop_in_the_middle(home, mariadb, process)

    assert process.returncode == 0, said
    assert said.count("storage:") == 2
    assert Counter(home.calls) == Counter(set(home.calls))
    assert states(address) == {"COMPLETE": 6}
    assert "${SECRET}" in home.run.study_file.read_text()
    assert left_behind(home.path, mariadb.password) == []


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_study_in_a_line_and_the_same_command_goes_on(
    home: Home, postgres: Postgres
) -> None:
    address = postgres.address(postgres.new_database())
    home.environment |= {"PGPASSWORD": postgres.password, "TOY_PATIENCE": "1"}
    home.write(f"postgresql://sweep@127.0.0.1:{postgres.port}/{address.database}")
    process = home.start("run", "study.yaml", seconds=0.7)
    home.wait_for(4, process)
    postgres.stop()
    try:
        said, _ = process.communicate(timeout=120)
        saved = {path: path.read_bytes() for path in home.run.path.rglob("record.json")}
        refused, why = home.sweep("run", "study.yaml")
    finally:
        postgres.start()
    code, again = home.sweep("run", "study.yaml")

    assert process.returncode == 1, said
    last = said.splitlines()[-1]
    assert re.search(r"^storage: .* stayed away for 1 s \(.*refused.*\)\. All trials that ended are saved; .*\.$", last)
    assert "Traceback" not in said
    assert refused == 2, why
    assert len(saved) == 3
    assert code == 0, again
    assert {path: path.read_bytes() for path in saved} == saved
    assert [call for call, count in Counter(home.calls).items() if count > 1] == ["search lora/1"], "it was running"
    assert states(address) == {"COMPLETE": 6}
    assert left_behind(home.path, postgres.password) == []


@pytest.mark.slow
def test_mlflow_in_postgresql_is_told_everything_though_it_was_away_in_mid_study(
    home: Home, postgres: Postgres
) -> None:
    """The server is away for MLflow alone: the study has its storage in a file, and does not wait."""
    address = postgres.address(postgres.new_database())
    home.environment["SECRET"] = postgres.password
    store = f"postgresql://sweep:${{SECRET}}@127.0.0.1:{postgres.port}/{address.database}"
    home.write("sqlite:///optuna.db", tracking=f"{{tracking_uri: '{store}'}}")
    process = home.start("run", "study.yaml", seconds=4.0)
    until = time.monotonic() + 60
    while not has_runs(address):
        assert time.monotonic() < until
        time.sleep(0.2)
    postgres.stop()
    try:
        time.sleep(10.0)
    finally:
        postgres.start()
    said, _ = process.communicate(timeout=200)

    assert process.returncode == 0, said
    assert said.count("MLflow") == 1, said
    names = execute(address, "SELECT name, status FROM runs ORDER BY name")
    assert len(names) == 1 + 2 + 6 + 2
    assert {status for _, status in names} == {"FINISHED"}
    artifacts = execute(address, "SELECT DISTINCT artifact_location FROM experiments WHERE name = 'toy'")
    assert artifacts == [((home.path / "runs" / "mlartifacts" / "toy").as_uri(),)]
    assert list((home.path / "runs" / "mlartifacts").rglob("record.json"))
    assert not (home.path / "mlruns").exists()
    told = [execute(address, f"SELECT * FROM {table}") for table in ("tags", "params", "runs")]  # noqa: S608
    assert not any(form in f"{told} {said}" for form in forms(postgres.password))
    assert left_behind(home.path, postgres.password) == []


def has_runs(address: sqlalchemy.URL) -> bool:
    """Whether MLflow has made its tables and logged a trial by now."""
    try:
        return execute(address, "SELECT count(*) FROM runs")[0][0] > 1  # type: ignore[operator]
    except sqlalchemy.exc.ProgrammingError:
        return False
