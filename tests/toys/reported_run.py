"""A run directory as a study leaves it, written through the store with made-up numbers: all that a report can meet.

Three methods with trials of every state, failures of every sort, a reused config, seeds that differ, per-item files in
lm-evaluation-harness's form, and texts that want to break out of wherever they are put.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reported_files import GSM8K_ITEMS, HOSTILE, SAMPLES, put

from evals.result import EvalResult, Metric
from evals.spec import ModelSpec, TaskSpec
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.files import write_json
from sweep.record import Failure, Memory, TrainingResult, TrialRecord
from sweep.spec import BudgetSpec, DataSpec, Dimension, EvaluationSpec, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory, TrialDirectory, write_record, write_study

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ITEMS = {"validation": 40, "test": 60}
DATA_SHA256 = {split: hashlib.sha256(split.encode()).hexdigest() for split in ("train", "validation", "test")}


def toy_study(methods: Sequence[str] = ("lora", "qlora", "full"), *, trials: int = 6, seeds: int = 3) -> StudySpec:
    """Three methods, their rate and rank searched, the answers scored with own data and GSM8K."""
    adapter = PeftSpec()
    kinds = {
        "lora": MethodSpec(kind="lora", peft=adapter, training=TrainingSpec()),
        "qlora": MethodSpec(kind="qlora", peft=adapter, load_in_4bit=True, training=TrainingSpec()),
        "full": MethodSpec(kind="full", training=TrainingSpec(learning_rate=2e-5)),
    }
    return StudySpec(
        name="tickets",
        model=ModelSpec(model_name_or_path="toy"),
        data=DataSpec(train="tickets.jsonl", group="customer_id"),
        methods={name: kinds[name] for name in methods},
        search_space={"training.learning_rate": Dimension(min=1e-5, max=1e-3, log=True)},
        evaluation=EvaluationSpec(confirm=(TaskSpec(task="own"), TaskSpec(task="gsm8k"))),
        budget=BudgetSpec(trials_per_method=trials, confirm_seeds=seeds),
    )


def build_run(root: Path, spec: StudySpec | None = None, *, search: bool = True, confirm: bool = True) -> RunDirectory:
    """Write a run directory, up to the phase that is asked for."""
    spec = spec or toy_study()
    run = RunDirectory(root / "runs" / spec.name)
    write_study(run, spec)
    write_json(run.environment, {"python": "3.11.9", "torch": "2.15.0", "cpu": "Toy 9000", "odd": HOSTILE})
    write_json(
        run.data / "0123" / "prepared.json",
        {
            "rows": {"train": 120, "validation": 40, "test": 60},
            "sha256": DATA_SHA256,
            "dropped": [{"row": 7}],
            "leaks": {"validation": 0, "test": 2},
        },
    )
    put(run, base_record(spec, "baseline", loss=1.9, exact=0.05))
    for place, method in enumerate(spec.methods):
        if search:
            for record in search_records(spec, method, place):
                put(run, record)
    if confirm:
        put(run, base_record(spec, "confirm", loss=1.8, exact=0.033))
        for place, method in enumerate(spec.methods):
            for number in range(1, spec.budget.confirm_seeds + 1):
                put(run, confirm_record(spec, method, place, number))
    return run


def base_record(spec: StudySpec, phase: Any, *, loss: float, exact: float) -> TrialRecord:
    config = configure_baseline(spec, phase=phase, data_root=Path("data"))
    return record_of(config, loss=loss, exact=exact, training=None)


def search_records(spec: StudySpec, method: str, place: int) -> list[TrialRecord]:
    """Six trials: four complete, one pruned, one that failed; and one more that was reused."""
    rates = [2e-4, 5e-5, 1e-3, 4e-4, 1e-4, 8e-4]
    failures = [
        Failure(kind="out_of_memory", message="CUDA out of memory."),
        Failure(kind="diverged", message="The loss at step 7 is nan."),
        Failure(kind="error", message=HOSTILE, traceback="Traceback …"),
    ]
    records = []
    for number, rate in enumerate(rates):
        rank = (8, 16, 32, 64)[number % 4]
        config = search_config(spec, method, number, rate, rank)
        loss = 0.3 + 0.15 * abs(math.log10(rate / 3e-4)) + 0.06 * place + 0.3 / rank
        if number == 2:
            records.append(failed(config, failures[place % 3]))
        elif number == 5:
            records.append(
                record_of(config, loss=loss + 0.4, exact=0.1, state="PRUNED", evaluation=None, objective=None)
            )
        else:
            records.append(record_of(config, loss=loss, exact=0.9 - loss))
    again = search_config(spec, method, 6, rates[0], 8)
    return [*records, records[0].model_copy(update={"config": again, "reused_from": 0})]


def confirm_record(spec: StudySpec, method: str, place: int, number: int) -> TrialRecord:
    params = search_config(spec, method, 0, 4e-4, 64).params
    config = configure(spec, method, params, phase="confirm", number=number, seed=100 + number, data_root=Path("data"))
    return record_of(config, loss=0.4 + 0.01 * number, exact=0.62 - 0.02 * place + 0.015 * (number - 2))


def lose(trial: TrialDirectory) -> None:
    """Let a trial that was scored have run out of memory."""
    record = trial.read_record()
    assert record is not None
    failure = Failure(kind="out_of_memory", message="CUDA out of memory.")
    write_record(trial, record.model_copy(update={"state": "FAIL", "failure": failure, "evaluation": None}))


def search_config(spec: StudySpec, method: str, number: int, rate: float, rank: int) -> TrialConfig:
    params: dict[str, Any] = {"training.learning_rate": rate if method != "full" else rate / 10}
    if spec.methods[method].peft is not None:
        params[f"methods.{method}.peft.lora_r"] = rank
    return configure(spec, method, params, phase="search", number=number, seed=7, data_root=Path("data"))


def trial_record(
    spec: StudySpec, method: str, number: int, params: dict[str, Any], loss: float, **changes: Any
) -> TrialRecord:
    """A complete trial of the search with these params; `objective` and all else can be changed."""
    config = configure(spec, method, params, phase="search", number=number, seed=7, data_root=Path("data"))
    return record_of(config, loss=loss, exact=0.5, **changes)


def failed(config: TrialConfig, failure: Failure) -> TrialRecord:
    return record_of(
        config, loss=1.0, exact=0.0, state="FAIL", failure=failure, evaluation=None, objective=None, training=None
    )


def record_of(config: TrialConfig, *, loss: float, exact: float, **changes: Any) -> TrialRecord:
    adapter = config.method_spec is not None and config.method_spec.peft is not None
    values = {
        "config": config,
        "config_fingerprint": config.fingerprint(),
        "state": "COMPLETE",
        "objective": loss,
        "training": TrainingResult(
            optimizer_steps=24,
            train_loss=loss + 0.2,
            validation_loss=loss,
            tokens=48_000,
            tokens_per_second=214.6,
            trainable_parameters=4_884_480 if adapter else 134_515_008,
            total_parameters=139_399_488 if adapter else 134_515_008,
            checkpoint_bytes=19_560_000 if adapter else 269_060_552,
            initial_sha256="a" * 64,
            final_sha256="b" * 64,
            optim="adamw_torch",
        ),
        "evaluation": evaluation(config, loss, exact),
        "seconds": {"load": 3.0, "train": 223.6, "score": 41.0},
        "memory": Memory(host_bytes=1_930_000_000, device_bytes=None),
        "data_sha256": DATA_SHA256,
        "environment": {"python": "3.11.9"},
        "started_at": STARTED + timedelta(minutes=config.number),
        "seconds_total": 280.5,
    }
    return TrialRecord.model_validate(values | changes)


def evaluation(config: TrialConfig, loss: float, exact: float) -> EvalResult:
    n = ITEMS[config.split]
    right = round(exact * n) / n
    metrics = {
        "own/loss": Metric(value=loss, stderr=0.02, n=n, higher_is_better=False),
        "own/exact_match": share(right, n),
        "own/json_valid": share(min(1.0, right + 0.3), n),
    }
    if config.phase == "confirm":
        metrics["gsm8k/exact_match,strict-match"] = share(0.0, GSM8K_ITEMS)
    return EvalResult(
        metrics=metrics,
        constant={"own/exact_match": share(round(0.15 * n) / n, n)},
        task_versions={"own": "1"},
        samples={"own": SAMPLES},
        seconds={"own": 10.0},
    )


def share(value: float, n: int) -> Metric:
    return Metric(value=value, stderr=math.sqrt(value * (1 - value) / (n - 1)), n=n, higher_is_better=True)
