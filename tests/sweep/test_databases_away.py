"""Database servers that are stopped and started while a study runs on them, or logs to them."""

import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy
from database_study import Home, forms, left_behind, states, text_of
from databases import MariaDb, Postgres, execute
from servers import free_port, get, mlflow_ui, post


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


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
    said = stop_under_mlflow(postgres, address, process)

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


@pytest.mark.slow
def test_an_mlflow_server_whose_postgresql_was_away_in_mid_study_is_told_everything(
    home: Home, postgres: Postgres, tmp_path: Path
) -> None:
    """The server answers all the while, with errors."""
    address = postgres.address(postgres.new_database())
    served = tmp_path / "server"
    served.mkdir()
    port = free_port()
    home.write("sqlite:///optuna.db", tracking=f"{{tracking_uri: 'http://127.0.0.1:{port}'}}")

    with mlflow_ui(served, port, store=text_of(address)) as server:
        process = home.start("run", "study.yaml", seconds=4.0)
        said = stop_under_mlflow(postgres, address, process)
        experiment = get(f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name=toy")["experiment"]
        wanted = {"experiment_ids": [experiment["experiment_id"]]}
        runs = [run["info"] for run in post(f"{server}/api/2.0/mlflow/runs/search", wanted)["runs"]]
        files = get(f"{server}/api/2.0/mlflow/artifacts/list?run_id={runs[0]['run_id']}")["files"]

    assert process.returncode == 0, said
    assert said.count("MLflow") <= 1, said
    assert len({run["run_name"] for run in runs}) == len(runs) == 1 + 2 + 6 + 2
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert files


def stop_under_mlflow(server: Postgres, address: sqlalchemy.URL, process: "subprocess.Popen[str]") -> str:
    """Stop MLflow's database once a trial was logged there, start it again, and give what the study printed."""
    until = time.monotonic() + 60
    while not has_runs(address):
        assert time.monotonic() < until
        time.sleep(0.2)
    server.stop()
    try:
        time.sleep(10.0)
    finally:
        server.start()
    said, _ = process.communicate(timeout=300)
    return said


def has_runs(address: sqlalchemy.URL) -> bool:
    """Whether MLflow has made its tables and logged a trial by now."""
    try:
        return execute(address, "SELECT count(*) FROM runs")[0][0] > 1  # type: ignore[operator]
    except sqlalchemy.exc.ProgrammingError:
        return False
