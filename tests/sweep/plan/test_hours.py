"""Hours from records whose seconds are known, worked out by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evals.result import EvalResult, Metric
from evals.spec import ModelSpec, TaskSpec
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.plan.hours import (
    FORWARD_SHARE,
    HOUR,
    VARIES,
    Rates,
    earlier_records,
    item_seconds,
    items_scored,
    phase_hours,
    ran_on,
    rates_of,
)
from sweep.plan.ranges import Range
from sweep.plan.result import PhaseHours, PhaseWork, ScoringWork
from sweep.record import TrainingResult, TrialRecord
from sweep.shape import Device, RowLengths
from sweep.spec import MethodSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory, write_config, write_record

L4 = Device("NVIDIA L4", "cuda", 24 * 2**30, 24 * 2**30)
CPU = Device("Toy 9000", "cpu", 2**30, 2**30)
OWN, SILENT, GSM8K = TaskSpec(task="own"), TaskSpec(task="own", generate=False), TaskSpec(task="gsm8k")
VALIDATION = {"fingerprint": RowLengths(rows=10, tokens=1_000, longest=100, learned=200)}


def study(*tasks: TaskSpec) -> StudySpec:
    from toy_runner import toy_study

    evaluation = {"search": [task.model_dump() for task in tasks or (OWN, GSM8K)], "confirm": [OWN.model_dump()]}
    return toy_study(evaluation=evaluation)


def config_of(spec: StudySpec, method: str | None, number: int = 0) -> TrialConfig:
    if method is None:
        return configure_baseline(spec, phase="baseline", data_root=Path("data"))
    return configure(spec, method, {}, phase="search", number=number, seed=0, data_root=Path("data"))


def metric(n: int) -> Metric:
    return Metric(value=0.5, stderr=None, n=n, higher_is_better=True)


def record(
    config: TrialConfig, *, speed: float = 100.0, scored: Mapping[str, float] | None = None, **changes: object
) -> TrialRecord:
    """A trial that trained so many tokens a second, and whose tasks took so many seconds: 10 rows, 50 problems."""
    training = TrainingResult(
        optimizer_steps=1, train_loss=1.0, validation_loss=1.0, tokens=1000, tokens_per_second=speed,
        trainable_parameters=1, total_parameters=2, checkpoint_bytes=1, initial_sha256="a", final_sha256="b",
        optim="adamw_torch",
    )  # fmt: skip
    scores = EvalResult(
        metrics={"own/loss": metric(10), "own/exact_match": metric(8), "gsm8k/exact_match,strict-match": metric(50)},
        task_versions={},
        samples={},
        seconds=scored or {"own": 20.0, "gsm8k": 100.0},
    )
    values: dict[str, object] = {
        "config": config,
        "config_fingerprint": config.fingerprint(),
        "state": "COMPLETE",
        "training": None if config.method is None else training,
        "evaluation": scores,
        "intermediate": {1: 2.0, 2: 1.0},
        "seconds": {"load": 3.0, "save": 1.0, "validate": 40.0, "score": 130.0},
        "data_sha256": {"validation": "fingerprint"},
        "environment": {"gpu": "1 x NVIDIA L4", "cpu": "Toy 9000"},
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return TrialRecord.model_validate(values | changes)


def work(**changes: object) -> PhaseWork:
    values: dict[str, object] = {
        "phase": "search",
        "method": "lora",
        "trials": Range.exactly(4),
        "steps": Range.exactly(10),
        "trial_tokens": Range(4_500, 9_000, 18_000),
        "train_tokens": Range(18_000, 36_000, 72_000),
        "validation_tokens": Range.exactly(7_200),
        "scored": Range(1, 2, 4),
        "scoring": ScoringWork({"own": 10, "gsm8k": 50}, Range.exactly(500), Range.exactly(100)),
    }
    return PhaseWork(**(values | changes))  # type: ignore[arg-type]


RATES = Rates(trials=3, train_token=0.01, read_token=0.005, fixed=9.0, items={"own": 2.0, "gsm8k": 3.0})


def test_a_phases_seconds_are_the_sum_of_its_parts() -> None:
    found = phase_hours(work(), [OWN, GSM8K], RATES)
    # Training 180, 360 and 720 seconds, validations 36, loading 36, and a scoring takes 10 x 2 + 50 x 3 = 170.
    low, high = VARIES
    expected = Range(
        low * (180 + 36 + 36 + 170) / HOUR, (360 + 36 + 36 + 2 * 170) / HOUR, high * (720 + 36 + 36 + 4 * 170) / HOUR
    )

    assert found.untimed == ()
    assert found.hours is not None
    for end in ("low", "expected", "high"):
        assert getattr(found.hours, end) == pytest.approx(getattr(expected, end))


def test_rows_that_are_not_answered_take_what_reading_them_takes() -> None:
    one = work(train_tokens=Range.exactly(0), validation_tokens=Range.exactly(0), scored=Range.exactly(1))

    found = phase_hours(one, [SILENT], RATES).hours
    assert found is not None
    assert found.expected * HOUR == pytest.approx(500 * 0.005 + 4 * 9)


def test_reading_takes_a_third_of_training_where_no_validation_was_timed() -> None:
    found = phase_hours(work(), [], Rates(trials=1, train_token=0.01)).hours

    assert found is not None
    assert found.expected * HOUR == pytest.approx(36_000 * 0.01 + 7_200 * 0.01 * FORWARD_SHARE)


def test_what_nothing_tells_is_left_out_and_named() -> None:
    assert phase_hours(work(), [OWN, GSM8K], None) == PhaseHours("search", "lora", None, ("own", "gsm8k"))
    # Rates of a base model tell nothing of training.
    assert phase_hours(work(), [OWN], Rates(trials=1, read_token=0.1)).hours is None

    unscored = phase_hours(work(), [OWN, GSM8K], Rates(trials=1, train_token=0.01, items={"own": 2.0}))
    unknown = phase_hours(work(scoring=ScoringWork({"own": 10, "gsm8k": None})), [OWN, GSM8K], RATES)
    assert unscored.untimed == unknown.untimed == ("gsm8k",)
    assert unscored.hours is not None
    assert unscored.hours.expected < unknown.hours.expected  # type: ignore[union-attr]


def test_rates_are_the_medians_of_trials_alike() -> None:
    spec = study()
    records = [record(config_of(spec, "lora", number), speed=speed) for number, speed in enumerate((50, 100, 400))]
    others = [record(config_of(spec, "full"), speed=1), record(config_of(spec, None))]
    found = rates_of([*records, *others], spec.methods["lora"], VALIDATION)

    # Two validations of 1,000 tokens in 40 seconds; 3 to load, 1 to save, and 10 of scoring beside its tasks.
    assert found == Rates(3, 1 / 100, 40 / 2 / 1_000, 3 + 1 + 10, {"own": 2.0, "gsm8k": 2.0})


def test_the_base_models_rates_come_from_the_base_model() -> None:
    spec = study()
    base = record(config_of(spec, None), intermediate={}, seconds={"load": 3.0, "score": 250.0})
    found = rates_of([base, record(config_of(spec, "lora"))], None, VALIDATION)

    # Scored twice: 250 seconds less twice 120.
    assert base.config.repeat == 2
    assert found == Rates(1, None, None, 3 + 10, {"own": 2.0, "gsm8k": 2.0})


def test_without_a_trial_alike_there_are_no_rates() -> None:
    spec = study()
    lora = spec.methods["lora"]
    assert rates_of([record(config_of(spec, "full"))], lora, VALIDATION) is None
    assert rates_of([record(config_of(spec, "lora"), training=None)], lora, VALIDATION) is None

    for other in (
        lora.model_copy(update={"load_in_4bit": True}),
        lora.model_copy(update={"training": TrainingSpec(gradient_checkpointing=True)}),
        MethodSpec(kind="qlora", peft=lora.peft, load_in_4bit=True, training=lora.training),
    ):
        assert rates_of([record(config_of(spec, "lora"))], other, VALIDATION) is None


def test_a_failed_trial_tells_nothing_of_loading_and_unknown_rows_nothing_of_reading() -> None:
    spec = study()
    failed = record(config_of(spec, "lora"), state="PRUNED", evaluation=None)
    found = rates_of([failed], spec.methods["lora"], {"other rows": VALIDATION["fingerprint"]})

    assert found == Rates(1, 1 / 100)


def test_an_item_takes_its_tasks_seconds_over_its_items() -> None:
    generated = record(config_of(study(OWN, GSM8K), "lora"))
    silent = record(config_of(study(SILENT, GSM8K), "lora"), scored={"own": 1.0, "gsm8k": 300.0})

    assert items_scored(generated) == {"own": 10, "gsm8k": 50}
    # Of rows that were only read no answer's time is known.
    assert item_seconds([silent]) == {"gsm8k": 6.0}
    assert item_seconds([generated, silent]) == {"own": 2.0, "gsm8k": 4.0}
    assert item_seconds([generated.model_copy(update={"evaluation": None})]) == {}


@pytest.mark.parametrize(
    ("gpu", "device", "expected"),
    [
        ("1 x NVIDIA L4", L4, True),
        ("2 x NVIDIA T4, 1 x NVIDIA L4", L4, True),
        ("1 x NVIDIA L40", L4, False),
        ("1 x NVIDIA L4 MIG 1g.10gb", L4, False),
        ("none", L4, False),
        ("", L4, False),
        ("none", CPU, True),
        ("", CPU, True),
        ("1 x NVIDIA L4", CPU, False),
        ("none", Device("Other 1", "cpu", 1, 1), False),
    ],
)
def test_a_record_counts_for_the_device_that_it_ran_on(gpu: str, device: Device, *, expected: bool) -> None:
    made = record(config_of(study(), "lora"), environment={"gpu": gpu, "cpu": "Toy 9000"})

    assert ran_on(made, device) is expected


def put(run: RunDirectory, made: TrialRecord) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.study_file.touch()
    write_config(run.directory_of(made.config), made.config)
    write_record(run.directory_of(made.config), made)


def test_earlier_trials_are_those_of_the_same_model_and_device_that_really_ran(tmp_path: Path) -> None:
    spec, runs = study(), tmp_path / "runs"
    first, second = RunDirectory(runs / "first"), RunDirectory(runs / "second")
    kept = [record(config_of(spec, None)), record(config_of(spec, "lora", 1))]
    for made in kept:
        put(first, made)
    put(first, record(config_of(spec, "lora", 2), reused_from=1))
    put(second, record(config_of(spec, "lora", 3), environment={"gpu": "1 x NVIDIA T4"}))
    other = spec.model_copy(update={"model": ModelSpec(model_name_or_path="toy", dtype="float32")})
    put(second, record(config_of(other, "lora", 4)))
    (broken := second.search_trial("lora", 5).record).parent.mkdir(parents=True)
    broken.write_text("{")

    assert earlier_records(runs, spec.model, L4) == kept
    assert earlier_records(tmp_path / "nowhere", spec.model, L4) == []
