"""Where rungs lie: shares of a trial's own steps, or the same number of rows in trials of different lengths."""

import itertools

import pytest
from rich.console import Console
from toy_runner import toy_study

from sweep.config import configure
from sweep.display import study_summary
from sweep.rungs import DECAYING, Stretch, equal_rungs, horizon, rows_read, rungs, schedule_notes, stretch
from sweep.spec import Horizon, TrainingSpec

EPOCHS = "training.num_train_epochs"
STEPS = "training.max_steps"
BATCH = "training.effective_batch_size"


def training(**settings: object) -> TrainingSpec:
    return TrainingSpec.model_validate({"effective_batch_size": 8, "warmup_steps": 0.0, **settings})


@pytest.mark.parametrize(
    ("steps", "validations", "expected"),
    [
        (8, 4, {2: 1, 4: 2, 6: 3, 8: 4}),
        (10, 4, {3: 1, 5: 2, 8: 3, 10: 4}),
        (2, 4, {1: 2, 2: 4}),
        (5, 1, {5: 1}),
    ],
)
def test_rungs_of_equal_trials_are_equal_shares_of_their_steps_and_the_last_is_their_end(
    steps: int, validations: int, expected: dict[int, int]
) -> None:
    assert equal_rungs(steps, validations) == expected
    assert rungs(training(max_steps=steps, validations=validations), 100) == expected


def rows_at(spec: TrainingSpec, rows: int) -> dict[int, int]:
    """Rows read by each rung."""
    return {
        rung: rows_read(spec.model_copy(update={"max_steps": step}), rows) for step, rung in rungs(spec, rows).items()
    }


@pytest.mark.parametrize("rows", [80, 83, 100, 1000])
def test_trials_of_different_lengths_meet_after_the_same_number_of_rows(rows: int) -> None:
    longest = Horizon(passes=4)
    shapes = itertools.product((0.5, 1, 2, 3, 4), (4, 8, 16))
    trials = [training(num_train_epochs=e, effective_batch_size=b, horizon=longest) for e, b in shapes]

    for trial in trials:
        at = rows_at(trial, rows)
        assert at.pop(4) == rows_read(trial, rows)
        # A step is whole: it may read past the mark, by less than a batch.
        assert all(0 <= read - rung * rows < 16 for rung, read in at.items())
        assert sorted(at) == [rung for rung in (1, 2, 3) if rung < trial.num_train_epochs]


def test_trials_of_different_batches_and_equal_steps_meet_after_the_same_number_of_rows() -> None:
    longest = Horizon(rows=40 * 16)
    wide, narrow = (training(max_steps=40, effective_batch_size=b, horizon=longest) for b in (16, 4))

    assert rungs(wide, 10_000) == {10: 1, 20: 2, 30: 3, 40: 4}
    # A quarter of the rows: its end is where the other has its first rung.
    assert rungs(narrow, 10_000) == {40: 4}
    assert rungs(training(max_steps=100, effective_batch_size=4, horizon=longest), 10_000) == {40: 1, 80: 2, 100: 4}


@pytest.mark.parametrize("rows", [7, 64, 101])
@pytest.mark.parametrize("epochs", [0.3, 1, 2.5])
def test_a_trial_as_long_as_the_horizon_has_all_rungs_about_where_it_had_them(rows: int, epochs: float) -> None:
    own, shared = (training(num_train_epochs=epochs, horizon=h) for h in (None, Horizon(passes=epochs)))
    steps = own.planned_steps(rows)

    assert max(rungs(shared, rows).items()) == (steps, 4)
    if steps >= 4:
        pairs = zip(rungs(own, rows), rungs(shared, rows), strict=True)
        assert all(abs(one - other) <= own.steps_per_epoch(rows) / 4 + 1 for one, other in pairs)


@pytest.mark.parametrize(
    ("space", "settings", "expected"),
    [
        ({}, {}, None),
        ({"training.learning_rate": {"min": 1e-5, "max": 1e-3}}, {}, None),
        ({BATCH: {"values": [8, 32]}}, {}, None),
        ({EPOCHS: {"values": [2.0]}}, {}, None),
        ({EPOCHS: {"values": [1.0, 3.0]}}, {}, Horizon(passes=3)),
        ({EPOCHS: {"min": 0.5, "max": 2.5}}, {}, Horizon(passes=2.5)),
        # Steps override the epochs.
        ({EPOCHS: {"values": [1.0, 3.0]}}, {"max_steps": 10}, None),
        ({STEPS: {"min": 10, "max": 50}}, {}, Horizon(rows=50 * 16)),
        ({BATCH: {"values": [8, 32]}}, {"max_steps": 10}, Horizon(rows=320)),
        ({STEPS: {"values": [None, 50]}}, {"num_train_epochs": 2.0}, Horizon(passes=2, rows=50 * 16)),
        ({EPOCHS: {"values": [1.0, 3.0]}, "methods.lora.training.num_train_epochs": {"values": [2.0]}}, {}, None),
        ({}, {"horizon": {"passes": 5}}, Horizon(passes=5)),
    ],
)
def test_the_horizon_is_the_longest_trial_that_may_be_chosen(
    space: dict[str, object], settings: dict[str, object], expected: Horizon | None
) -> None:
    lora = {"kind": "lora", "peft": {}, "training": {"effective_batch_size": 16, **settings}}
    spec = toy_study(search_space=space, methods={"lora": lora})

    assert horizon(spec, "lora") == expected


def test_a_config_has_the_horizon_and_one_without_is_the_work_that_it_was() -> None:
    spec = toy_study(search_space={EPOCHS: {"values": [1.0, 3.0]}})

    def config(study, **params: object):
        return configure(study, "lora", params, phase="search", number=0, seed=0, data_root="/data")

    long, plain = config(spec, **{EPOCHS: 3.0}), config(toy_study(search_space={}))
    assert long.method_spec.training.horizon == Horizon(passes=3)
    assert plain.method_spec.training.horizon is None
    assert long.fingerprint() != long.model_copy(update={"method_spec": plain.method_spec}).fingerprint()
    # As records of older versions have it.
    written = plain.model_dump(mode="json")
    del written["method_spec"]["training"]["horizon"]
    assert type(plain).model_validate(written).fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("settings", "rows", "expected"),
    [
        ({"warmup_steps": 0.1}, None, Stretch(0.4, 4)),
        ({"warmup_steps": 5, "num_train_epochs": 1}, 80, Stretch(2.0, 4)),
        ({"warmup_steps": 5, "max_steps": 20}, None, Stretch(1.0, 4)),
        ({"warmup_steps": 0.5, "lr_scheduler_type": "constant"}, 80, Stretch(0.0, 4)),
        ({"warmup_steps": 0.5, "num_train_epochs": 1, "horizon": Horizon(passes=4)}, None, Stretch(0.5, 1)),
        ({"warmup_steps": 0.5, "num_train_epochs": 1, "horizon": Horizon(passes=4)}, 80, Stretch(0.5, 1)),
        ({"max_steps": 10, "horizon": Horizon(passes=1)}, 160, Stretch(0, 2)),
        ({"max_steps": 10, "horizon": Horizon(rows=160)}, None, Stretch(0, 2)),
    ],
)
def test_a_stretch_is_measured_in_rungs(settings: dict[str, object], rows: int | None, expected: Stretch) -> None:
    assert stretch(training(**settings), rows) == expected


LENGTHS = {EPOCHS: {"values": [1.0, 3.0]}}
SCHEDULE = "training.lr_scheduler_type"


@pytest.mark.parametrize(
    ("space", "schedule", "pruner", "warned_of"),
    [
        *((LENGTHS, name, "median", name) for name in DECAYING),
        *((LENGTHS, name, "median", None) for name in ("constant", "constant_with_warmup", "warmup_stable_decay")),
        (LENGTHS, "cosine", "none", None),
        ({}, "cosine", "median", None),
        (
            {**LENGTHS, SCHEDULE: {"values": ["constant", "linear", "cosine"]}},
            "constant",
            "hyperband",
            "linear or cosine",
        ),
        ({**LENGTHS, SCHEDULE: {"values": ["constant", "warmup_stable_decay"]}}, "cosine", "median", None),
    ],
)
def test_it_is_said_where_a_schedule_makes_losses_unequal(
    space: dict[str, object], schedule: str, pruner: str, warned_of: str | None
) -> None:
    method = {"training": {"lr_scheduler_type": schedule}}
    methods = {"lora": {"kind": "lora", "peft": {}, **method}, "full": {"kind": "full", **method}}
    spec = toy_study(search_space=space, methods=methods, pruner={"name": pruner})
    notes = schedule_notes(spec)

    assert [note.partition(":")[0] for note in notes] == ([] if warned_of is None else ["lora", "full"])
    assert all(f"lr_scheduler_type {warned_of} favours" in note for note in notes)
    assert all("warmup_stable_decay or constant_with_warmup" in note for note in notes)
    # What `sweep check` prints.
    console = Console(width=1000)
    with console.capture() as shown:
        console.print(study_summary(spec))
    assert all(note in shown.get() for note in notes)
    assert ("favours" in shown.get()) == bool(notes)
