"""What MLflow is told of a trial's cost: each with its unit in its name, and nothing where nothing was told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from toy_runner import trained

from evals.spec import ModelSpec
from sweep.config import configure
from sweep.easing import Easing
from sweep.record import DeviceUse, Memory, Sharing, TrialRecord
from sweep.spec import DataSpec, MethodSpec, PeftSpec, ReportSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory
from sweep.tracking.payload import Payload, describe

GPU = DeviceUse(kind="cuda", name="Toy GPU", count=2, energy_joules=5_000.0, energy_source="nvml")


def told(report: ReportSpec | None = None, run: Path = Path("nowhere"), **changes: Any) -> Payload:
    spec = StudySpec(
        name="tickets",
        model=ModelSpec(model_name_or_path="toy"),
        data=DataSpec(train="tickets.jsonl"),
        methods={"lora": MethodSpec(kind="lora", peft=PeftSpec(), training=TrainingSpec())},
    )
    config = configure(spec, "lora", {}, phase="search", number=0, seed=7, data_root=Path("data"))
    training = trained(positions=1_500)
    values = {
        "config": config,
        "config_fingerprint": config.fingerprint(),
        "state": "COMPLETE",
        "training": training,
        "seconds": {"train": 90.0},
        "memory": Memory(host_bytes=1_000, device_bytes=2_000),
        "device": GPU,
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "seconds_total": 180.0,
    }
    record = TrialRecord.model_validate(values | changes)
    return describe(record, RunDirectory(run).search_trial("lora", 0), report)


def metrics(payload: Payload) -> dict[str, float]:
    return {point.key: point.value for point in payload.points}


def test_every_cost_is_a_metric_with_its_unit_in_its_name() -> None:
    found = metrics(told(ReportSpec(price_per_hour=4.0, currency="EUR")))

    wanted = {
        "device/energy_joules": 5_000.0,
        "training/tokens_per_second": 100.0,
        "training/estimated_flops": 1_000 * (4 * 1_000 + 2 * 10),
        "training/computed_flops": 1_500 * (4 * 1_000 + 2 * 10),
        "training/trainable_share": 0.01,
        "training/checkpoint_bytes": 4,
        "memory/device_bytes": 2_000,
        "memory/host_bytes": 1_000,
        "seconds/train": 90.0,
        "seconds_total": 180.0,
        # Two devices were held.
        "cost/train_EUR": 90 / 3600 * 4 * 2,
        "cost/trial_EUR": 180 / 3600 * 4 * 2,
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_what_the_machine_did_not_tell_and_what_has_no_price_is_left_out() -> None:
    found = metrics(told(ReportSpec(), device=DeviceUse(kind="cpu", name="Toy CPU")))

    assert "device/energy_joules" not in found
    assert not [name for name in found if name.startswith("cost/")]
    assert not [name for name in metrics(told()) if name.startswith("cost/")]


def test_a_reused_trial_costs_nothing_again() -> None:
    assert not [name for name in metrics(told(ReportSpec(price_per_hour=4.0), reused_from=1)) if "cost" in name]


def test_a_trial_that_shared_its_device_says_so_and_ends_when_it_ended() -> None:
    payload = told(sharing=Sharing(lanes=4.0, elapsed_seconds=700.0))

    assert metrics(payload)["sharing/lanes"] == 4.0
    assert metrics(payload)["elapsed_seconds"] == 700.0
    assert payload.end_ms - payload.start_ms == 700_000
    alone = told()
    assert "sharing/lanes" not in metrics(alone)
    assert alone.end_ms - alone.start_ms == 180_000


def test_what_memory_that_ran_out_left_to_a_trial_is_a_tag() -> None:
    eased = told(easing=Easing(lanes=1, micro_batch_size=2, why=("Out of memory at 4 rows.", "And at 3.")))

    assert eased.tags["sweep.easing"] == "alone, micro-batches of 2 rows with 8 accumulated"
    assert eased.tags["sweep.easing_why"] == "Out of memory at 4 rows. And at 3."
    assert not [tag for tag in told().tags if "easing" in tag]


def test_what_a_link_leads_to_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("private")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "private").write_text("private")
    trial = RunDirectory(tmp_path / "run").search_trial("lora", 0)
    trial.eval.mkdir(parents=True)
    (trial.eval / "results.json").write_text("{}")
    (trial.eval / "linked").symlink_to(tmp_path / "private")
    trial.checkpoint.symlink_to(tmp_path / "folder")
    trial.steps.symlink_to(tmp_path / "private")

    payload = told(run=tmp_path / "run")

    assert [artifact.path.name for artifact in payload.artifacts] == ["results.json"]
