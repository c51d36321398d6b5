"""Hours of trials that are trained together, and what that saves, worked out by hand from records of both kinds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from toy_runner import toy_study

from sweep.config import configure
from sweep.data.prepared import Manifest, PreparedData
from sweep.plan.hours import HOUR, VARIES
from sweep.plan.ranges import Range
from sweep.plan.result import Seating
from sweep.plan.schedule import Schedule, is_measured, notes, schedule
from sweep.plan.together import measured_ratio
from sweep.record import Sharing, TrainingResult, TrialRecord
from sweep.shape import RowLengths
from sweep.spec import StudySpec

TRAIN = RowLengths(rows=100, tokens=20_000, longest=400, learned=5_000, longest_learned=90)
OTHERS = RowLengths(rows=10, tokens=1_000, longest=300, learned=400, longest_learned=60)
LENGTHS = {"train": TRAIN, "validation": OTHERS, "test": OTHERS}
SHA256 = {"train": "rows", "validation": "held out"}


def study(**budget: object) -> StudySpec:
    silent = [{"task": "own", "generate": False}]
    bounds = {"trials_per_method": None, **budget}
    return toy_study(budget=bounds, evaluation={"search": silent, "confirm": silent}, search_space={
        "training.learning_rate": {"min": 1e-5, "max": 1e-3},
    })  # fmt: skip


def prepared() -> PreparedData:
    manifest = Manifest.model_validate({
        "rows": {}, "sha256": SHA256, "dropped": (), "leaks": {}, "answer": "none", "labels": (),
        "constant_answers": (), "stop": (), "max_new_tokens": 64,
    })  # fmt: skip
    return PreparedData(Path(), {}, SHA256, (), {}, manifest)


def record(spec: StudySpec, seconds: float, *, lanes: float | None = None, **changes: object) -> TrialRecord:
    """A LoRA trial whose 1,000 tokens took so many seconds, and nothing else any time."""
    config = configure(spec, "lora", {}, phase="search", number=0, seed=0, data_root=Path())
    training = TrainingResult(
        optimizer_steps=1, train_loss=1.0, validation_loss=1.0, tokens=1000, tokens_per_second=1000 / seconds,
        trainable_parameters=1, total_parameters=2, checkpoint_bytes=1, initial_sha256="a", final_sha256="b",
        optim="adamw_torch",
    )  # fmt: skip
    values: dict[str, object] = {
        "config": config, "config_fingerprint": "f", "state": "PRUNED", "training": training,
        "seconds": {"train": seconds}, "data_sha256": SHA256, "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "sharing": None if lanes is None else Sharing(lanes=lanes, elapsed_seconds=9 * seconds),
    }  # fmt: skip
    return TrialRecord.model_validate(values | changes)


def seating(alone: float = 0.0, phase: str = "search") -> Seating:
    return Seating(phase, "lora", Range.exactly(4), "memory", alone)


def laid_out(spec: StudySpec, records: Sequence[TrialRecord], *seats: Seating) -> Schedule:
    return schedule(spec, LENGTHS, prepared(), records, seating=seats, compared=records)


def hours(found: Schedule) -> Mapping[tuple[str, str | None], Range | None]:
    return {(part.phase, part.method): part.hours for part in found.hours}


def training_hours(spec: StudySpec, token_seconds: float, trials: int) -> float:
    """Of training and of what is read: two validations of a trial, and rows once when scored, each 1,000 tokens."""
    each = 20_000 * spec.methods["lora"].training.num_train_epochs + (2 + 1) * 1_000 / 3
    return trials * each * token_seconds / HOUR


def test_trials_that_share_the_device_take_what_sharing_trials_took() -> None:
    spec = study(trials_per_method=8, confirm_seeds=0)
    records = [record(spec, 4.0), record(spec, 1.0, lanes=4), record(spec, 1.0, lanes=3.5)]

    apart, together, half = (
        hours(laid_out(spec, records, *seats))["search", "lora"] for seats in ((), (seating(),), (seating(0.5),))
    )
    assert apart is not None
    assert together is not None
    assert half is not None
    assert apart.expected == pytest.approx(training_hours(spec, 0.004, 8))
    assert together.expected == pytest.approx(training_hours(spec, 0.001, 8))
    assert half.expected == pytest.approx((apart.expected + together.expected) / 2)


def test_what_is_saved_is_said_where_trials_ran_both_ways() -> None:
    spec = study(trials_per_method=8, confirm_seeds=0)
    records = [record(spec, 4.0), record(spec, 1.0, lanes=4), record(spec, 2.0, lanes=4)]

    (seat,) = laid_out(spec, records, seating(0.25)).seating
    assert seat.time_ratio == pytest.approx(1.5 / 4)
    assert seat.measured == (2, 1)
    tokens = 8 * 0.75 * 20_000 * spec.methods["lora"].training.num_train_epochs
    assert seat.saved_hours == pytest.approx(tokens * (0.004 - 0.0015) / HOUR)


def test_what_training_together_costs_is_not_hidden() -> None:
    spec = study(trials_per_method=8, confirm_seeds=0)

    (seat,) = laid_out(spec, [record(spec, 1.0), record(spec, 1.1, lanes=2)], seating()).seating
    assert seat.saved_hours is not None
    assert seat.saved_hours < 0


def test_without_trials_of_both_kinds_nothing_is_said_of_a_gain() -> None:
    spec = study(trials_per_method=8, confirm_seeds=0)
    for records in (
        [],
        [record(spec, 1.0)],
        [record(spec, 1.0, lanes=4)],
        [record(spec, 1.0), record(spec, 1.0, lanes=1)],
    ):
        (seat,) = laid_out(spec, records, seating()).seating
        assert (seat.time_ratio, seat.measured, seat.saved_hours) == (None, (0, 0), None)


def test_a_ratio_is_of_the_same_rows_and_batches_alone() -> None:
    spec = study(trials_per_method=8)
    method = spec.methods["lora"]
    known = [record(spec, 2.0), record(spec, 1.0, lanes=4)]
    assert measured_ratio(known, method, "rows").ratio == 0.5

    wider = method.model_copy(
        update={"training": method.training.model_copy(update={"per_device_train_batch_size": 1})}
    )
    assert measured_ratio(known, wider, "rows") is None
    assert measured_ratio(known, method, "other rows") is None
    untrained = [record(spec, 2.0, training=None), record(spec, 1.0, lanes=4)]
    assert measured_ratio(untrained, method, "rows") is None


def test_a_budget_in_hours_holds_more_trials_where_they_share() -> None:
    spec = study(device_hours_per_method=1.0, confirm_seeds=0)
    records = [record(spec, 4.0), record(spec, 1.0, lanes=4)]

    apart, together = (laid_out(spec, records, *seats) for seats in ((), (seating(),)))
    for found, seconds in ((apart, 0.004), (together, 0.001)):
        (search,) = (part for part in found.work if part.method == "lora")
        one = training_hours(spec, seconds, 1)
        low, high = VARIES
        assert search.trials is not None
        for count, each in zip(
            (search.trials.low, search.trials.expected, search.trials.high), (one * high, one, one * low), strict=True
        ):
            # The trial that crosses the bound is finished, and none begins after it.
            assert (count - 1) * each < 1.0 <= count * each
        spent = hours(found)["search", "lora"]
        assert spent is not None
        assert 1.0 <= spent.low <= spent.high < 1.0 + one * high
    # Full fine-tuning has no record: its hours are known and its trials are not.
    assert hours(apart)["search", "full"] == Range.exactly(1.0)
    told = " ".join(notes(spec, apart))
    assert "How many trials full will run is not known" in told
    assert "lora" not in told.partition("How long")[0]
    assert is_measured(apart)


def test_without_any_record_a_budget_in_hours_is_all_that_is_known() -> None:
    spec = study(device_hours_per_method=1.5, confirm_seeds=0)
    found = laid_out(spec, [])

    assert not is_measured(found)
    assert {part.trials for part in found.work if part.phase == "search"} == {None}
    assert hours(found)["search", "lora"] == hours(found)["search", "full"] == Range.exactly(1.5)
    told = notes(spec, found)
    assert "1.5 device hours" in told[0]
    assert "sweep plan --probe" in told[1]


def test_a_bound_in_trials_beside_hours_that_nothing_times_is_the_most_that_is_run() -> None:
    spec = study(device_hours_per_method=1.5, trials_per_method=6, confirm_seeds=0)
    found = laid_out(spec, [])

    assert {part.trials for part in found.work if part.phase == "search"} == {Range(1, 6, 6)}
    assert hours(found)["search", "lora"] is None
    assert any("ended after 1.5 device hours too" in note for note in notes(spec, found))
