"""Tracking against a real store and a real server: what it logs, and that nothing that goes wrong reaches the study."""

import json
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers import broken_server, free_port, get, mlflow_ui, post, read
from toy_runner import trained

from evals.result import EvalResult, Metric
from evals.spec import ModelSpec
from sweep.config import configure, configure_baseline
from sweep.record import Failure, Memory, TrialRecord
from sweep.spec import DataSpec, MethodSpec, Params, PeftSpec, StudySpec, TrackingSpec, TrainingSpec
from sweep.store import RunDirectory, TrialDirectory, write_config, write_record, write_study
from sweep.tracking.addresses import brief, hide_passwords, split_credentials
from sweep.tracking.payload import describe, safe_key
from sweep.tracking.tracker import Patience, Tracker

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = Patience(request_seconds=1, retries=0, finish_seconds=300)


def study(tracking_uri: str | None = None, name: str = "tickets") -> StudySpec:
    return StudySpec(
        name=name,
        model=ModelSpec(model_name_or_path="toy"),
        data=DataSpec(train="tickets.jsonl"),
        methods={"lora": MethodSpec(kind="lora", peft=PeftSpec(), training=TrainingSpec())},
        tracking=TrackingSpec(tracking_uri=tracking_uri),
    )


def baseline(spec: StudySpec) -> TrialRecord:
    config = configure_baseline(spec, phase="baseline", data_root=Path("data"))
    return record_of(config, objective=2.5)


def trial(spec: StudySpec, number: int, **changes: Any) -> TrialRecord:
    params: Params = {"training.learning_rate": 1e-4 * (number + 1), "methods.lora.peft.lora_r": 8}
    config = configure(spec, "lora", params, phase="search", number=number, seed=7, data_root=Path("data"))
    training = trained()
    return record_of(config, **{"objective": 0.5, "training": training, **changes})


def record_of(config: Any, **changes: Any) -> TrialRecord:
    values = {
        "config": config,
        "config_fingerprint": config.fingerprint(),
        "state": "COMPLETE",
        "evaluation": EvalResult(
            metrics={
                "own/loss": Metric(value=0.5, stderr=0.1, n=10, higher_is_better=False),
                "gsm8k/exact_match,strict-match": Metric(value=0.25, stderr=0.2, n=4, higher_is_better=True),
            },
            task_versions={"own": "1"},
            samples={},
            seconds={"own": 1.0},
        ),
        "seconds": {"train": 2.0},
        "memory": Memory(host_bytes=1000, device_bytes=None),
        "data_sha256": {"train": "c" * 64, "validation": "d" * 64},
        "environment": {"python": "3.11", "gpu": "none, only a CPU"},
        "started_at": STARTED,
        "seconds_total": 4.0,
    }
    return TrialRecord.model_validate(values | changes)


def put(run: RunDirectory, record: TrialRecord) -> TrialDirectory:
    """Write a trial's files as a study would."""
    directory = run.directory_of(record.config)
    write_config(directory, record.config)
    if record.config.method is not None:
        steps = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-4} for step in range(1, 1203)]
        directory.steps.write_text("".join(json.dumps(step) + "\n" for step in steps) + '{"step": 13, "lo')
        directory.checkpoint.mkdir()
        (directory.checkpoint / "adapter_model.safetensors").write_bytes(b"toy")
    directory.eval.mkdir(exist_ok=True)
    (directory.eval / "samples_own.jsonl").write_text('{"doc_id": 0}\n')
    write_record(directory, record)
    return directory


def new_run(path: Path, spec: StudySpec) -> RunDirectory:
    run = RunDirectory(path / "runs" / spec.name)
    write_study(run, spec)
    return run


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that tracking created and that was emptied again: creating one takes MLflow seconds."""
    run = new_run(tmp_path_factory.mktemp("store"), study())
    assert track(study(), run, []) == []
    path = run.path.parent / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        for table in ("tags", "runs", "experiments WHERE name = 'tickets'"):
            database.execute(f"DELETE FROM {table}")  # noqa: S608
    return path


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A directory whose `runs/` has an MLflow database already."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return tmp_path


def track(spec: StudySpec, run: RunDirectory, records: list[TrialRecord], patience: Patience = QUICK) -> list[str]:
    """Run tracking from start to finish and return its warnings."""
    warnings: list[str] = []
    tracker = Tracker(spec, run, on_warning=warnings.append, patience=patience)
    tracker.start()
    for record in records:
        tracker.log(record, put(run, record))
    tracker.finish()
    return warnings


ASK = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([{
    "id": run.info.run_id, "name": run.info.run_name, "status": run.info.status,
    "start": run.info.start_time, "end": run.info.end_time,
    "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
    "inputs": [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs],
    "losses": [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")],
    "artifacts": sorted(a.path for a in client.list_artifacts(run.info.run_id)),
    "config": "config.yaml" in [a.path for a in client.list_artifacts(run.info.run_id)]
        and open(client.download_artifacts(run.info.run_id, "config.yaml")).read(),
} for run in runs]))
"""


def ask(uri: str, name: str = "tickets") -> list[dict[str, Any]]:
    """Everything that MLflow knows of an experiment, asked in a process of its own: MLflow warns and leaves threads."""
    answer = subprocess.run([sys.executable, "-c", ASK, uri, name], check=True, capture_output=True, text=True)
    return list(json.loads(answer.stdout))


def select(run: RunDirectory, query: str) -> list[tuple[Any, ...]]:
    """A look into MLflow's database that takes no import of MLflow."""
    with closing(sqlite3.connect(run.path.parent / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def store_beside(run: RunDirectory) -> str:
    return f"sqlite:///{run.path.parent / 'mlflow.db'}"


def test_a_study_becomes_an_experiment_with_a_parent_and_a_child_for_each_record(home: Path) -> None:
    spec = study()
    run = new_run(home, spec)
    failed = trial(spec, 1, state="FAIL", failure=Failure(kind="out_of_memory", message="Too big."))
    warnings = track(spec, run, [baseline(spec), trial(spec, 0), failed, trial(spec, 2, state="PRUNED")])

    runs = {found["name"]: found for found in ask(store_beside(run))}

    assert warnings == []
    assert {name: found["status"] for name, found in runs.items()} == {
        "tickets": "FINISHED",
        "baseline on validation": "FINISHED",
        "lora trial 0": "FINISHED",
        "lora trial 1": "FAILED",
        "lora trial 2": "KILLED",
    }
    parent = runs.pop("tickets")
    assert {found["tags"]["mlflow.parentRunId"] for found in runs.values()} == {parent["id"]}
    assert runs["lora trial 1"]["tags"]["sweep.failure_kind"] == "out_of_memory"
    child = runs["lora trial 0"]
    assert child["params"]["methods.lora.peft.lora_r"] == "8"
    assert child["params"]["training.learning_rate"] == "0.0001"
    assert child["metrics"]["gsm8k/exact_match.strict-match"] == 0.25
    assert child["metrics"]["training/tokens_per_second"] == 100.0
    assert sorted(child["losses"]) == [[step, 2.0 / step] for step in range(1, 1203)]
    assert child["tags"]["environment.gpu"] == "none, only a CPU"
    assert sorted(child["inputs"]) == [["tickets.jsonl train", "c" * 36], ["tickets.jsonl validation", "d" * 36]]
    assert child["artifacts"] == ["checkpoint", "config.yaml", "eval", "record.json", "steps.jsonl"]
    assert child["config"] == run.search_trial("lora", 0).config.read_text()
    assert (child["start"], child["end"]) == (int(STARTED.timestamp() * 1000), int(STARTED.timestamp() * 1000) + 4000)


def test_logging_again_adds_nothing_and_what_came_later_is_added(home: Path) -> None:
    tables = ("params", "tags", "metrics", "runs", "inputs")
    spec = study()
    run = new_run(home, spec)
    track(spec, run, [trial(spec, 0)])
    before = {table: select(run, f"SELECT COUNT(*) FROM {table}") for table in tables}  # noqa: S608
    ids = select(run, "SELECT run_uuid FROM runs ORDER BY name")
    # The ledger is lost, as when the machine dies between telling the server and writing it down.
    for ledger in (run.path / "tracking").glob("delivered-*.jsonl"):
        ledger.unlink()

    warnings = track(spec, run, [])
    after = {table: select(run, f"SELECT COUNT(*) FROM {table}") for table in tables}  # noqa: S608
    put(run, trial(spec, 1))
    warnings += track(spec, run, [])

    assert warnings == []
    assert after == before
    assert select(run, "SELECT run_uuid FROM runs WHERE name != 'lora trial 1' ORDER BY name") == ids
    assert len(select(run, "SELECT name FROM runs")) == 3
    told = Tracker(spec, run, on_warning=pytest.fail, patience=QUICK)
    told.start()
    assert told._process is None, "a study that was told to its end costs no process"


@dataclass(frozen=True)
class Served:
    """A study logged while its server was down, then with `mlflow ui` there; and one logged without a server."""

    address: str
    local: RunDirectory
    remote: RunDirectory
    while_down: list[str]
    while_up: list[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    (home / "runs").mkdir()
    shutil.copy(empty_store, home / "runs" / "mlflow.db")
    port = free_port()
    here, there = study(), study(f"http://127.0.0.1:{port}", name="remote")
    local, remote = new_run(home, here), new_run(home, there)
    track(here, local, [trial(here, 0)])
    numberless = trial(there, 1, objective=math.nan)
    while_down = track(there, remote, [baseline(there), trial(there, 0), numberless])
    with mlflow_ui(home / "runs", port) as address:
        while_up = track(there, remote, [trial(there, 2)], Patience(request_seconds=20, finish_seconds=120))
        yield Served(address, local, remote, while_down, while_up)


def test_mlflow_ui_beside_the_runs_shows_the_study_and_its_files(served: Served) -> None:
    runs = rest_runs(served.address, "tickets")
    run_id = next(found["run_id"] for found in runs if found["run_name"] == "lora trial 0")
    files = get(f"{served.address}/api/2.0/mlflow/artifacts/list?run_id={run_id}")["files"]
    config = read(f"{served.address}/get-artifact?path=config.yaml&run_uuid={run_id}")

    assert sorted(found["run_name"] for found in runs) == ["lora trial 0", "tickets"]
    assert "config.yaml" in {file["path"] for file in files}
    assert config.decode() == served.local.search_trial("lora", 0).config.read_text()


def test_a_server_that_refuses_connections_costs_one_warning_and_gets_everything_later(served: Served) -> None:
    runs = rest_runs(served.address, "remote")
    run_id = next(found["run_id"] for found in runs if found["run_name"] == "lora trial 1")
    record = read(f"{served.address}/get-artifact?path=record.json&run_uuid={run_id}")

    assert len(served.while_down) == 2
    assert served.while_down[0].startswith("MLflow did not take study (")
    assert served.while_down[1].startswith("MLflow has not been told about 3 records")
    assert served.while_up == []
    assert sorted(found["run_name"] for found in runs) == [
        "baseline on validation",
        "lora trial 0",
        "lora trial 1",
        "lora trial 2",
        "remote",
    ]
    assert record == served.remote.search_trial("lora", 1).record.read_bytes()


def rest_runs(address: str, name: str) -> list[Any]:
    experiment = get(f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")["experiment"]
    found = post(f"{address}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment["experiment_id"]]})
    return [run["info"] for run in found["runs"]]


def test_a_server_that_answers_with_errors_costs_one_warning_and_keeps_its_password(tmp_path: Path) -> None:
    with broken_server(500, 400) as broken:
        spec = study(broken.address.replace("//", "//someone:geheim@")).model_copy(
            update={"storage": "postgresql://me:streng@host/optuna"}
        )
        run = new_run(tmp_path, spec)
        warnings = track(spec, run, [trial(spec, 0), trial(spec, 1)])

    assert len(warnings) == 2
    assert "the study goes on" in warnings[0]
    assert warnings[1].startswith("MLflow has not been told about 2 records (lora trial 0, lora trial 1)")
    assert {500, 400} <= set(broken.answered)
    assert set(broken.credentials) == {"Basic " + b64encode(b"someone:geheim").decode()}
    assert not any("geheim" in warning for warning in warnings)
    kept = [path.read_bytes() for path in (run.path / "tracking").rglob("*") if path.is_file()]
    assert not any(b"geheim" in text or b"streng" in text for text in kept)
    texts = json.dumps(Tracker(spec, run, on_warning=warnings.append)._greeting()["texts"])
    assert "geheim" not in texts
    assert "streng" not in texts


def test_a_server_that_hangs_does_not_hold_up_the_study(tmp_path: Path) -> None:
    with broken_server() as broken:
        spec = study(broken.address)
        run = new_run(tmp_path, spec)
        warnings: list[str] = []
        patience = Patience(request_seconds=600, retries=0, finish_seconds=1)
        tracker = Tracker(spec, run, on_warning=warnings.append, patience=patience)
        tracker.start()
        record = trial(spec, 0)
        directory = put(run, record)
        before = time.monotonic()
        for _ in range(5000):
            tracker.log(record, directory)
        logging_seconds = time.monotonic() - before
        tracker.finish()
        finish_seconds = time.monotonic() - before - logging_seconds

    assert logging_seconds < 10
    assert finish_seconds < 15
    assert warnings == [
        "MLflow has not been told about 1 records (lora trial 0); the same `sweep run` again sends what is missing."
    ]


def test_what_cannot_be_logged_costs_one_warning_each_and_holds_up_nothing_else(home: Path) -> None:
    spec = study()
    run = new_run(home, spec)
    damaged = run.search_trial("lora", 0)
    damaged.path.mkdir(parents=True)
    damaged.record.write_text("{}")

    warnings = track(spec, run, [trial(spec, 1, seconds={"train": 2.0, "../up": 1.0}), trial(spec, 2)])

    assert len(warnings) == 3
    assert "MLflow is not told about search/lora/0000: " in warnings[0]
    assert warnings[1] == "MLflow refused values of search/lora/0001 (seconds/../up); the rest was taken."
    assert "1 records (search/lora/0000)" in warnings[2]
    assert select(run, "SELECT name, status FROM runs ORDER BY name") == [
        ("lora trial 1", "FINISHED"),
        ("lora trial 2", "FINISHED"),
        ("tickets", "FINISHED"),
    ]
    assert len(select(run, "SELECT value FROM metrics WHERE key = 'seconds/train'")) == 2


def test_a_study_without_tracking_starts_no_process_and_writes_nothing(tmp_path: Path) -> None:
    spec = study().model_copy(update={"tracking": TrackingSpec(mlflow=False)})
    run = new_run(tmp_path, spec)

    assert track(spec, run, [trial(spec, 0)]) == []
    assert not (run.path / "tracking").exists()
    assert not (run.path.parent / "mlflow.db").exists()


def test_importing_the_tracker_loads_no_mlflow() -> None:
    code = "import sys, sweep.tracking.tracker; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_credentials_leave_the_address_and_hidden_ones_cannot_be_read() -> None:
    assert split_credentials("https://a%40b:p%2Fw@host:5000/x") == (
        "https://host:5000/x",
        {"MLFLOW_TRACKING_USERNAME": "a@b", "MLFLOW_TRACKING_PASSWORD": "p/w"},
    )
    assert split_credentials("sqlite:////tmp/a@b.db") == ("sqlite:////tmp/a@b.db", {})
    assert hide_passwords("postgresql://me:p@ss@host/db?sslpassword=geheim&x=1") == (
        "postgresql://***@host/db?sslpassword=***&x=1"
    )
    assert brief("first http://u:p@h/\nsecond") == "first http://***@h/"


def test_every_name_that_scoring_gives_is_one_that_mlflow_takes() -> None:
    assert safe_key("gsm8k/exact_match,strict-match") == "gsm8k/exact_match.strict-match"
    assert safe_key("a|b=c/ü") == "a_b_c/ü"


def test_files_too_big_for_mlflow_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = study()
    run = new_run(tmp_path, spec)
    record = trial(spec, 0)
    directory = put(run, record)
    (directory.checkpoint / "model.safetensors").write_bytes(b"x" * 100_000)
    monkeypatch.setattr("sweep.tracking.payload.MAX_ARTIFACT_BYTES", 99_999)

    payload = describe(record, directory)

    assert payload.tags["sweep.skipped_artifacts"] == "checkpoint/model.safetensors"
    assert "adapter_model.safetensors" in {artifact.path.name for artifact in payload.artifacts}
    assert "model.safetensors" not in {artifact.path.name for artifact in payload.artifacts}


ABANDON = """
import os, signal, sys
from pathlib import Path
from sweep.store import RunDirectory
from sweep.tracking.tracker import Tracker
run = RunDirectory(Path(sys.argv[1]))
tracker = Tracker(run.read_study(), run, on_warning=print)
tracker.start()
print(tracker._process.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def abandoned(run: RunDirectory, seconds: float) -> int:
    """Have a driver start tracking and be killed so many seconds later; gives the number of its delivery."""
    driver = subprocess.Popen(
        [sys.executable, "-c", ABANDON, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    time.sleep(seconds)
    driver.communicate("now\n")
    assert driver.returncode == -signal.SIGKILL
    return pid


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_delivery_does_not_outlive_a_driver_that_is_killed(tmp_path: Path) -> None:
    with broken_server() as broken:
        # It waits for an answer that never comes.
        pid = abandoned(new_run(tmp_path, study(broken.address)), 2.0)
        until = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < until:
            time.sleep(0.05)

    assert not is_running(pid)


@pytest.mark.slow
def test_a_kill_while_mlflow_makes_its_database_leaves_none_that_is_half_made(tmp_path: Path) -> None:
    spec = study()
    run = new_run(tmp_path, spec)
    for seconds in (1.0, 2.0, 3.0, 4.0, 6.0):
        abandoned(run, seconds)
    half_made = (run.path.parent / "mlflow.db.new").exists()

    assert track(spec, run, [trial(spec, 0)]) == []
    assert {found["name"] for found in ask(store_beside(run))} == {"tickets", "lora trial 0"}
    assert not (run.path.parent / "mlflow.db.new").exists(), half_made
