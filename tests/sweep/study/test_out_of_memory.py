"""Memory of real workers ends for real, while they train real trials: none is lost, and each is the same."""

import json
from functools import partial
from pathlib import Path

import pytest
from scarce import MEBIBYTE, build_scarce

from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep.events import Event, Notice
from sweep.record import TrialRecord
from sweep.spec import (
    BudgetSpec,
    DataSpec,
    EvaluationSpec,
    MethodSpec,
    ObjectiveSpec,
    PeftSpec,
    StudySpec,
    TrainingSpec,
)
from sweep.store import RunDirectory
from sweep.study.phases import Workers, run_study
from sweep.worker import TrialRunner

ROWS = "training.per_device_train_batch_size"
WIDE = 49
"""Rows of a step, and of the wide trial's micro-batch; below it come 7, then 1."""
SPARE = 130 * MEBIBYTE
"""Nearly twice what a trial takes that reads one row at a time, alone or as a process's first lane; a third of what a
lane of all rows takes, and less still of what seven rows take alone."""


def study(model: Path, kind: str = "lora", **changes: object) -> StudySpec:
    training = TrainingSpec(
        effective_batch_size=WIDE, per_device_train_batch_size=1, max_length=768, num_train_epochs=1, validations=2,
        learning_rate=1e-3,
    )  # fmt: skip
    own = (TaskSpec(task="own", generate=False),)
    spec = StudySpec(
        name="tight",
        model=ModelSpec(model_name_or_path=str(model), dtype="float32"),
        data=DataSpec(train="rows.jsonl", validation=0.1, test=0.1),
        methods={kind: MethodSpec(kind=kind, peft=PeftSpec(lora_r=4) if kind == "lora" else None, training=training)},
        training=training,
        search_space={ROWS: {"values": [1, WIDE]}},
        starting_points={kind: [{ROWS: WIDE}]},
        evaluation=EvaluationSpec(
            search=own, confirm=own, general_text=False, noise_floor=False, scoring=ScoringSpec(batch_size=1)
        ),
        objective=ObjectiveSpec(minimize="own/loss"),
        budget=BudgetSpec(trials_per_method=2, confirm_seeds=0),
        sampler={"name": "random"},
        pruner={"name": "none"},
        lanes=2,
        save_seconds=None,
    )
    return StudySpec.model_validate({**spec.model_dump(), **changes})


def start(spec: StudySpec, root: Path, spare_bytes: int | None) -> tuple[list[TrialRecord], list[Event]]:
    rows = [{"prompt": f"{number} + 1 =", "completion": (" " + str(number + 1) * 250)[:500]} for number in range(70)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    events: list[Event] = []
    cache = root / "cache"
    build = partial(TrialRunner, cache) if spare_bytes is None else partial(build_scarce, cache, spare_bytes)
    run = RunDirectory(root / ("free" if spare_bytes is None else "tight"))
    run_study(spec, run=run, data_root=root, cache=cache, on_event=events.append, workers=Workers(build))
    (method,) = spec.methods
    return run.search_records(method), events


@pytest.mark.slow
def test_a_lane_that_is_too_wide_is_trained_in_smaller_batches_and_its_neighbour_is_unharmed(
    tiny_model: Path, tmp_path: Path
) -> None:
    (narrow, wide), events = start(study(tiny_model), tmp_path, SPARE)

    assert (narrow.state, narrow.easing) == ("COMPLETE", None)
    assert narrow.sharing is not None
    assert narrow.sharing.lanes > 1
    assert wide.state == "COMPLETE"
    assert wide.config.params == {ROWS: WIDE}
    assert wide.easing is not None
    assert (wide.easing.lanes, wide.easing.micro_batch_size, wide.easing.gradient_checkpointing) == (1, 1, False)
    # In its lane, then alone with all rows, then with seven of them.
    assert len(wide.easing.why) == 3
    assert wide.easing.lost_seconds > 0
    assert all("allocat" in why or "MemoryError" in why for why in wide.easing.why)
    assert [event for event in events if isinstance(event, Notice) and "ran out of memory" in event.message]
    # All that they differ in is how many rows are read at a time.
    assert narrow.training is not None
    assert wide.training is not None
    assert wide.training.optimizer_steps == narrow.training.optimizer_steps == 2
    assert wide.training.initial_sha256 == narrow.training.initial_sha256
    assert wide.objective == pytest.approx(narrow.objective, rel=1e-5)


@pytest.mark.slow
def test_where_memory_is_no_matter_the_same_study_ends_the_same(tiny_model: Path, tmp_path: Path) -> None:
    tight, _ = start(study(tiny_model), tmp_path, SPARE)
    free, events = start(study(tiny_model), tmp_path, None)

    assert [record.easing for record in free] == [None, None]
    assert not [event for event in events if isinstance(event, Notice)]
    for one, other in zip(tight, free, strict=True):
        assert one.objective == pytest.approx(other.objective, rel=1e-5)
        assert one.config_fingerprint == other.config_fingerprint
        assert one.training is not None
        assert other.training is not None
        assert one.training.train_loss == pytest.approx(other.training.train_loss, rel=1e-5)
