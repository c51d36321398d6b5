"""A run directory as a study leaves it, written through the store with made-up numbers: all that a report can meet.

Three methods with trials of every state, failures of every sort, a reused config, seeds that differ, per-item files in
lm-evaluation-harness's form, and texts that want to break out of wherever they are put.
"""

import hashlib
import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evals.result import EvalResult, Metric
from evals.spec import ModelSpec, TaskSpec
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.record import Failure, Memory, TrainingResult, TrialRecord
from sweep.spec import BudgetSpec, DataSpec, Dimension, EvaluationSpec, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory, write_config, write_json, write_record, write_study

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ITEMS = {"validation": 40, "test": 60}
HOSTILE = "</script><img src=x onerror=alert(1)> | `code` **bold** =1+1\n\u202egnp.exe\x00 ]( {{ 7*7 }}"
STAMP = "2026-01-02T03-04-05.000000"
SAMPLES = f"samples_own_{STAMP}.jsonl"
GSM8K_ITEMS = 50

DATA_SHA256 = {split: hashlib.sha256(split.encode()).hexdigest() for split in ("train", "validation", "test")}

RunBuilder = Callable[..., RunDirectory]


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


def put(run: RunDirectory, record: TrialRecord) -> None:
    """Write a trial's files as a study does."""
    directory = run.directory_of(record.config)
    write_config(directory, record.config)
    if record.reused_from is None and record.evaluation is not None:
        directory.eval.mkdir(parents=True, exist_ok=True)
        (directory.eval / SAMPLES).write_text("".join(samples(record)), "utf-8")
        if "gsm8k/exact_match,strict-match" in record.evaluation.metrics:
            (directory.eval / f"samples_gsm8k_{STAMP}.jsonl").write_text("".join(gsm8k_samples()), "utf-8")
        write_json(directory.eval / f"results_{STAMP}.json", results(record.evaluation))
    if record.reused_from is None and record.training is not None:
        directory.steps.write_text("".join(steps(record)), "utf-8")
    write_record(directory, record)


def steps(record: TrialRecord) -> list[str]:
    noise = random.Random(record.config.number)  # noqa: S311
    last = record.objective or 1.0
    lines: list[dict[str, Any]] = []
    for step in range(1, 25):
        loss = last + 1.5 * math.exp(-step / 6) + 0.1 * noise.random()
        lines.append({"step": step, "loss": loss, "learning_rate": 1e-4, "grad_norm": None, "seconds": step * 1.5})
        if step % 6 == 0:
            lines.append({"step": step, "rung": step // 6, "validation_loss": last + 1.2 * math.exp(-step / 6)})
    return [json.dumps(line) + "\n" for line in lines]


def samples(record: TrialRecord) -> list[str]:
    """What lm-evaluation-harness writes for the own rows: the first as many right as the score says."""
    assert record.evaluation is not None
    metric = record.evaluation.metrics["own/exact_match"]
    right = round(metric.value * metric.n)
    valid = round(record.evaluation.metrics["own/json_valid"].value * metric.n)
    losses = item_losses(record.evaluation.metrics["own/loss"].value, metric.n, record.config.method)
    lines = []
    for place in range(metric.n):
        target = json.dumps({"topic": "refund", "urgent": place % 2 == 0, "order": 1000 + place})
        wrong = HOSTILE if place == 1 else f"Dear customer, we are sorry to hear about order {1000 + place}."
        answer = target if place < right else wrong
        prompt = (
            f"<|im_start|>user\nMessage {place}: where is my order #{1000 + place}?<|im_end|>\n<|im_start|>assistant\n"
        )
        sample = {
            "doc_id": place,
            "doc": {
                "row": 10 + place,
                "prompt": prompt,
                "completion": target,
                "answer": target,
                "group": f"c{place % 7}",
            },
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {}}},
            "resps": [[answer], [[-1.0, 5]]],
            "filtered_resps": [answer, [-1.0, 5]],
            "filter": "none",
            "metrics": ["exact_match", "json_valid", "loss"],
            "doc_hash": hashlib.sha256(f"{record.config.split}{place}".encode()).hexdigest(),
            "prompt_hash": "p",
            "target_hash": "t",
            "exact_match": float(place < right),
            "json_valid": float(place < valid),
            "loss": [losses[place] * 5, 5],
        }
        lines.append(json.dumps(sample) + "\n")
    return lines


def item_losses(mean: float, count: int, method: str | None) -> list[float]:
    """Losses of this mean; hard items are hard for every method, and each method has its own besides."""
    shared, own = random.Random(0), random.Random(method)  # noqa: S311
    noise = [shared.gauss(0, 0.1) + own.gauss(0, 0.03) for _ in range(count)]
    return [mean + one - sum(noise) / count for one in noise]


def gsm8k_samples() -> list[str]:
    """Problems that no model of this size solves."""
    sample = {
        "doc": {},
        "target": "#### 4",
        "filtered_resps": ["[invalid]"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "exact_match": 0.0,
    }
    numbers = range(GSM8K_ITEMS)
    return [json.dumps(sample | {"doc_id": place, "doc_hash": f"gsm8k-{place}"}) + "\n" for place in numbers]


def results(found: EvalResult) -> dict[str, Any]:
    """The results file beside the samples, as far as anything here reads it."""
    scores: dict[str, dict[str, float]] = {}
    better: dict[str, dict[str, bool]] = {}
    for name, metric in found.metrics.items():
        task, _, rest = name.partition("/")
        scores.setdefault(task, {})[rest if "," in rest else f"{rest},none"] = metric.value
        better.setdefault(task, {})[rest.partition(",")[0]] = metric.higher_is_better
    return {"results": scores, "higher_is_better": better, "group_subtasks": {task: [] for task in scores}}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A study that ran to its end; tests read it and do not change it."""
    return build_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def build() -> RunBuilder:
    """Make a run directory of one's own: `build(tmp_path, spec, search=True, confirm=False)`."""
    return build_run


@pytest.fixture(scope="session")
def study() -> Callable[..., StudySpec]:
    """Make a toy study: `study(("lora",), trials=2, seeds=1)`."""
    return toy_study


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialRecord]:
    """Make a trial's record: `trial(spec, "lora", 3, {"training.learning_rate": 1e-4}, 0.4, state="PRUNED")`."""
    return trial_record


@pytest.fixture(scope="session")
def write() -> Callable[[RunDirectory, TrialRecord], None]:
    """Write a trial's files as a study does: `write(run, record)`."""
    return put
