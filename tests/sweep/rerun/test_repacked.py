"""Other micro-batches of the same training."""

from pathlib import Path

import pytest

from evals.spec import ModelSpec
from sweep.config import configure, configure_baseline
from sweep.rerun.repacked import repacked
from sweep.spec import DataSpec, MethodSpec, StudySpec, TrainingSpec


def study(training: TrainingSpec) -> StudySpec:
    return StudySpec(
        name="toy",
        model=ModelSpec(model_name_or_path="toy"),
        data=DataSpec(train="rows.jsonl"),
        methods={"lora": MethodSpec(kind="lora", training=training)},
    )


@pytest.mark.parametrize(
    ("step", "rows_a_pass", "other"), [(16, 4, 2), (12, 4, 3), (8, 1, 2), (9, 1, 3), (7, 7, 1), (6, 4, 2), (1, 1, None)]
)
def test_a_step_is_divided_into_the_next_smaller_micro_batches_or_else_larger_ones(
    step: int, rows_a_pass: int, other: int | None
) -> None:
    training = TrainingSpec(effective_batch_size=step, per_device_train_batch_size=rows_a_pass)
    config = configure(study(training), "lora", {}, phase="search", number=0, seed=0, data_root=Path())

    found = repacked(config)

    if other is None:
        assert found is None
        return
    assert found is not None
    assert found.method_spec is not None
    packed = found.method_spec.training
    assert (packed.micro_batch_size, packed.gradient_accumulation_steps) == (other, step // other)
    assert packed.planned_steps(100) == training.planned_steps(100)


def test_a_base_model_is_not_trained_in_any_packing() -> None:
    assert repacked(configure_baseline(study(TrainingSpec()), phase="baseline", data_root=Path())) is None
