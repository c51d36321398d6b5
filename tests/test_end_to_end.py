"""A whole study on a toy model, run as a user runs it: the command in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep.openings import read_openings
from sweep.record import TrialRecord
from sweep.store import RunDirectory

STUDY = """\
name: toy
model: {{model_name_or_path: {model}, dtype: float32}}
data: {{train: rows.jsonl, validation: 0.2, test: 0.2}}
methods: [lora, qlora, full]
training: {{num_train_epochs: 1, effective_batch_size: 8, max_length: 128, validations: 2}}
search_space:
  training.learning_rate: {{min: 1.0e-4, max: 1.0e-2, log: true}}
  methods.lora.peft.lora_r: {{values: [4, 8]}}
evaluation: {{scoring: {{max_new_tokens: 8}}}}
budget: {{trials_per_method: 2, confirm_seeds: 1}}
"""


def sweep(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("sweep")), *arguments]
    environment = {**os.environ, "SWEEP_CACHE": str(cwd / "cache"), "COLUMNS": "160"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def study(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("end-to-end")
    rows = [{"prompt": f"say {n % 7} {n}", "completion": json.dumps({"digit": n % 7})} for n in range(80)]
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (directory / "toy.yaml").write_text(STUDY.format(model=tiny_model))
    return directory / "toy.yaml"


@pytest.fixture(scope="module")
def finished(study: Path) -> RunDirectory:
    """The study killed in mid-search, then run to its end by the same command."""
    first = subprocess.Popen(
        [str(Path(sys.executable).with_name("sweep")), "run", study.name],
        cwd=study.parent,
        env={**os.environ, "SWEEP_CACHE": str(study.parent / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run = RunDirectory(study.parent / "runs" / "toy")
    deadline = time.monotonic() + 240
    while len(list(run.path.glob("search/*/*/record.json"))) < 2 and time.monotonic() < deadline:
        assert first.poll() is None, "the study ended before it could be killed"
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {path: path.read_bytes() for path in run.path.rglob("record.json")}

    again = sweep("run", study.name, cwd=study.parent)

    assert again.returncode == 0, again.stdout + again.stderr
    assert before
    assert {path: path.read_bytes() for path in before} == before, "a finished trial was run again"
    return run


def records(run: RunDirectory) -> list[TrialRecord]:
    methods = run.read_study().methods
    return [record for method in methods for record in [*run.search_records(method), *run.confirm_records(method)]]


def test_a_killed_study_ends_with_every_trial_complete(finished: RunDirectory) -> None:
    ended = records(finished)

    assert {record.state for record in ended} <= {"COMPLETE", "PRUNED"}
    for method in ("lora", "qlora", "full"):
        assert len([r for r in finished.search_records(method) if r.reused_from is None]) == 2
        assert [r.config.number for r in finished.confirm_records(method)] == [1]
    assert finished.confirm_baseline.read_record() is not None


def test_running_a_finished_study_again_changes_no_record(finished: RunDirectory, study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("record.json")}

    again = sweep("run", study.name, cwd=study.parent)

    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("record.json")} == before


def test_the_report_is_one_file_that_names_every_method(finished: RunDirectory) -> None:
    html = (finished.report / "index.html").read_text("utf-8")

    assert all(method in html for method in ("lora", "qlora", "full"))
    assert 'src="http' not in html
    assert 'href="http' not in html
    assert (finished.report / "report.md").is_file()


def test_optuna_holds_one_study_for_each_method_and_no_running_trial(finished: RunDirectory) -> None:
    import optuna

    storage = f"sqlite:///{finished.optuna_db}"

    assert set(optuna.get_all_study_names(storage)) == {"toy/lora", "toy/qlora", "toy/full"}
    for name in optuna.get_all_study_names(storage):
        trials = optuna.load_study(study_name=name, storage=storage).trials
        assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}


# MLflow's own queries use what the newest SQLAlchemy deprecates.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
def test_mlflow_holds_a_parent_run_and_a_child_for_each_trial(finished: RunDirectory) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.path.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toy")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]

    # The base model is scored on the validation and on the test split: two runs beside the trials.
    assert len(children) == len(records(finished)) + 2
    assert len(runs) == len(children) + 1


# PEFT reads an attribute that transformers is renaming.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_the_finalists_adapter_loads_with_plain_peft(finished: RunDirectory, tiny_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)

    loaded = PeftModel.from_pretrained(base, finished.confirm_trial("lora", 1).checkpoint)

    assert any("lora_" in name for name, _ in loaded.named_parameters())


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_scoring_a_finalist_again_gives_its_recorded_scores(finished: RunDirectory, study: Path, method: str) -> None:
    trial = finished.confirm_trial(method, 1)
    recorded = trial.read_record()
    output = study.parent / f"again-{method}"

    again = sweep("eval", str(trial.path), "--output_path", str(output), cwd=study.parent)

    assert again.returncode == 0, again.stderr
    # Each task is asked in a call of its own, and writes a file of its own.
    written = [json.loads(path.read_text("utf-8"))["results"] for path in output.rglob("results_*.json")]
    (scores,) = (results["own"] for results in written if "own" in results)
    assert recorded is not None
    assert recorded.evaluation is not None
    assert scores["loss,none"] == pytest.approx(recorded.evaluation.metrics["own/loss"].value, rel=1e-6)
    # Whoever looks at the test data once more is counted.
    assert (read_openings(finished)[-1].by, read_openings(finished)[-1].who) == ("eval", f"{method} seed 1")


def test_status_names_the_phase_and_the_best_trial_of_each_method(finished: RunDirectory, study: Path) -> None:
    shown = sweep("status", str(finished.path), cwd=study.parent)

    assert shown.returncode == 0
    assert "done" in shown.stdout
    assert "The test data were opened" in shown.stdout
    assert "2 of 2 trials" in shown.stdout
    assert all(method in shown.stdout for method in ("lora", "qlora", "full"))


def test_a_finalist_that_is_run_again_gives_what_was_recorded(finished: RunDirectory, study: Path) -> None:
    before = len(read_openings(finished))

    again = sweep("rerun", "runs/toy", "confirm/qlora/seed-1", cwd=study.parent)

    assert again.returncode == 0, again.stdout + again.stderr
    assert "confirm/qlora/seed-1 gives exactly what was recorded." in again.stdout
    assert [opening.by for opening in read_openings(finished)[before:]] == ["rerun"]


def test_the_test_data_were_opened_for_the_base_model_and_the_finalists_alone(finished: RunDirectory) -> None:
    by_study = [opening.who for opening in read_openings(finished) if opening.by == "study"]

    assert by_study == ["base model", "lora seed 1", "qlora seed 1", "full seed 1"]
    by_hand = [opening.who for opening in read_openings(finished) if opening.by == "eval"]
    assert set(by_hand) <= {"lora seed 1", "qlora seed 1", "full seed 1"}
    # What training saw is known: of every trial, however it ended.
    assert all(record.tokens for record in records(finished) if record.reused_from is None)
    assert all(record.device is not None and record.device.name for record in records(finished))


def test_finalists_and_the_base_model_are_scored_on_plain_prose(finished: RunDirectory) -> None:
    base = finished.confirm_baseline.read_record()
    scored = [base, *(record for record in records(finished) if record.config.phase == "confirm")]

    evaluations = [record.evaluation for record in scored if record is not None]
    assert len(evaluations) == 4
    assert all(found is not None and found.metrics["general_text/loss"].n > 30 for found in evaluations)
    assert len({found.doc_sha256["general_text"] for found in evaluations if found is not None}) == 1


def test_tables_can_be_read_from_python(finished: RunDirectory) -> None:
    from sweep import api

    run = api.read_run(finished.path)

    assert set(run.trials["method"].dropna()) == {"lora", "qlora", "full"}
    assert {"step", "loss"} <= set(run.steps.columns)
    assert len(run.items) > 0
