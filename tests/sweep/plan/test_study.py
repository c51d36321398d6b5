"""Plans of a study that really ran: by the command, from its records, and by a probe of its own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evals.errors import ModelError
from sweep import api, cli
from sweep.plan.hours import earlier_records
from sweep.plan.memory import trainable_parameters
from sweep.plan.result import StudyPlan
from sweep.plan.study import read_basis
from sweep.record import TrialRecord
from sweep.store import RunDirectory, read_record
from sweep.study.probe import PROBE_ITEMS, PROBE_STEPS, probe

STUDY = """\
name: toy
model: {{model_name_or_path: {model}, dtype: float32}}
data: {{train: rows.jsonl, validation: 0.2, test: 0.2}}
methods: [lora, full]
training: {{num_train_epochs: 1, effective_batch_size: 8, max_length: 128, validations: 2}}
search_space:
  training.learning_rate: {{min: 1.0e-4, max: 1.0e-2, log: true}}
evaluation: {{scoring: {{max_new_tokens: 8}}}}
report: {{price_per_hour: 2.5, currency: EUR}}
budget: {{trials_per_method: 1, confirm_seeds: 1}}
"""


@pytest.fixture(scope="module")
def file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("planned")
    rows = [{"prompt": f"say {n % 7} {n}", "completion": json.dumps({"digit": n % 7})} for n in range(80)]
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (directory / "toy.yaml").write_text(STUDY.format(model=tiny_model))
    return directory / "toy.yaml"


@pytest.fixture(scope="module")
def run(file: Path) -> RunDirectory:
    """The study run to its end, in worker processes, with MLflow beside it."""
    spec = api.load_study(file)
    return api.run_study(spec, data_root=file.parent, runs=file.parent / "runs", cache=file.parent / "cache").directory


@pytest.fixture(scope="module")
def planned(run: RunDirectory, file: Path) -> StudyPlan:
    return api.plan_run(run.path, cache=file.parent / "cache")


@pytest.fixture(scope="module")
def probed(file: Path) -> list[TrialRecord]:
    return probe(api.load_study(file), data_root=file.parent, cache=file.parent / "cache")


def records(run: RunDirectory) -> list[TrialRecord]:
    return [record for path in sorted(run.path.rglob("record.json")) if (record := read_record(path)) is not None]


def test_every_trial_that_trained_has_its_memory_checked(run: RunDirectory, planned: StudyPlan) -> None:
    checked = {check.trial: check for check in planned.checks}

    assert list(checked) == ["search/lora/0000", "confirm/lora/seed-1", "search/full/0000", "confirm/full/seed-1"]
    for trial, check in checked.items():
        record = read_record(run.path / trial / "record.json")
        assert record.memory is not None
        assert check.recorded_bytes == record.memory.host_bytes
        assert check.method == record.config.method
        # On a machine that other tests run on, too: a process is as large as what it has imported.
        assert check.is_within


def test_what_training_did_is_what_was_planned(run: RunDirectory, planned: StudyPlan) -> None:
    basis = read_basis(run.read_study(), data_root=run.path.parents[1], cache=run.path.parents[1] / "cache")
    for part in planned.work:
        trained = [
            record
            for record in records(run)
            if (record.config.phase, record.config.method) == (part.phase, part.method) and record.training
        ]
        assert len(trained) == (part.trials.expected if part.method else 0)
        for record in trained:
            assert record.training.optimizer_steps == part.steps.expected
            assert record.training.tokens * part.trials.expected == part.train_tokens.expected
            assert record.training.trainable_parameters == trainable_parameters(record.config.method_spec, basis.shape)
        scored = [r for r in records(run) if (r.config.phase, r.config.method) == (part.phase, part.method)]
        for record in scored:
            counts = {name.partition("/")[0]: metric.n for name, metric in record.evaluation.metrics.items()}
            assert counts == part.scoring.items


def test_hours_come_from_each_record_once_and_are_what_the_trials_took(run: RunDirectory, planned: StudyPlan) -> None:
    took = sum(record.seconds_total for record in records(run)) / 3600

    # MLflow's copies of the records are beside the run directory.
    assert len(list(run.path.parent.glob("mlartifacts/**/record.json"))) == len(records(run)) == 6
    assert planned.timed_from == "6 trials of earlier runs"
    assert all(phase.hours is not None and not phase.untimed for phase in planned.hours)
    assert planned.total_hours.low < took < planned.total_hours.high
    assert planned.cost.expected == pytest.approx(2.5 * planned.total_hours.expected)


def test_an_earlier_run_times_the_same_study_and_no_other_model(run: RunDirectory, file: Path) -> None:
    spec = api.load_study(file)
    again = api.plan_study(spec, data_root=file.parent, runs=run.path.parent, cache=file.parent / "cache")

    assert again.timed_from == "6 trials of earlier runs"
    assert again.checks == ()
    other = spec.model.model_copy(update={"dtype": "bfloat16"})
    assert earlier_records(run.path.parent, other, again.devices[0]) == []
    assert earlier_records(run.path.parent, spec.model, replace(again.devices[0], name="Another CPU")) == []


def test_the_base_models_scores_of_the_run_tell_what_can_be_found(planned: StudyPlan) -> None:
    rows = {row.metric: row for row in planned.detectable}

    assert "as two methods' finalists did" in rows["own/loss"].assumptions
    assert rows["general_text/loss"].items > 30
    assert not rows["general_text/loss"].is_share


def test_the_command_shows_a_runs_estimates_beside_what_it_used(
    run: RunDirectory, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["plan", str(run.path), "--cache", str(file.parent / "cache")]) == 0

    shown = capsys.readouterr().out
    assert "Memory as estimated and as used, in GB" in shown
    assert "Hours of one device, from 6 trials of earlier runs" in shown
    assert "cost, EUR" in shown
    lines = [line.split() for line in shown.splitlines()]
    for trial in ("search/lora/0000", "confirm/full/seed-1"):
        used = read_record(run.path / trial / "record.json").memory.host_bytes / 1e9
        (line,) = (words for words in lines if words[:1] == [trial])
        assert line[-2:] == [f"{used:.2f}", "yes"]


def test_a_run_whose_rows_are_gone_says_so_and_still_tells_memory(run: RunDirectory, tmp_path: Path) -> None:
    kept = RunDirectory(tmp_path / "runs" / "toy")
    shutil.copytree(run.path, kept.path, ignore=shutil.ignore_patterns("data", "checkpoint", "eval"))

    found = api.plan_run(kept.path, cache=tmp_path)

    assert any("the rows of this run are not in" in note for note in found.missing)
    assert found.work == found.hours == ()
    assert len(found.checks) == 4
    assert [memory.method for memory in found.memory] == ["lora", "full"]


def test_a_run_whose_model_is_gone_is_planned_from_its_config_file(
    run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    kept = RunDirectory(tmp_path / "runs" / "toy")
    shutil.copytree(run.path, kept.path, ignore=shutil.ignore_patterns("checkpoint", "eval"))
    study = kept.study_file.read_text("utf-8")
    kept.study_file.write_text(study.replace(str(tiny_model), str(tmp_path / "gone")), "utf-8")

    with pytest.raises(ModelError, match="--model-config FILE"):
        api.plan_run(kept.path, cache=tmp_path)
    assert api.plan_run(kept.path, cache=tmp_path, model_config=tiny_model / "config.json").checks


def test_a_directory_that_is_no_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", str(tmp_path), "--cache", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_probe_trains_and_scores_each_method_for_a_few_steps(probed: list[TrialRecord]) -> None:
    assert [record.config.method for record in probed] == ["lora", "full"]
    for record in probed:
        assert record.state == "COMPLETE"
        assert record.training.optimizer_steps == PROBE_STEPS
        assert record.training.tokens_per_second > 0
        assert len(record.intermediate) == 1
        # What only the confirm phase asks is timed too; the test split is not looked at.
        assert set(record.evaluation.seconds) == {"own", "general_text"}
        assert record.evaluation.metrics["general_text/loss"].n == PROBE_ITEMS
        assert record.config.split == "validation"


def test_a_probe_gives_hours_of_every_phase(
    file: Path, probed: list[TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}
    monkeypatch.setattr("sweep.study.probe.probe", lambda *_, **given: asked.update(given) or probed)

    cache = file.parent / "cache"
    found = api.plan_study(api.load_study(file), data_root=file.parent, runs=tmp_path / "none", cache=cache, probe=True)

    assert asked["cache"] == cache
    assert found.timed_from == "a probe of 2 short trials"
    assert {(phase.phase, phase.method) for phase in found.hours} == {
        ("baseline", None), ("search", "lora"), ("search", "full"),
        ("confirm", None), ("confirm", "lora"), ("confirm", "full"),
    }  # fmt: skip
    assert all(phase.hours.expected > 0 and not phase.untimed for phase in found.hours)
    assert not any("--probe" in note or "leave out" in note for note in found.missing)
    # No more than what was done can be known of a trial that runs longer: it takes at least the probe's own parts.
    (search,) = (phase for phase in found.hours if (phase.phase, phase.method) == ("search", "lora"))
    assert search.hours.expected * 3600 > probed[0].seconds["load"]
    assert not (tmp_path / "none").exists()
