"""Studies whose work is planned."""

from toy_runner import toy_study

from sweep.spec import BudgetSpec, StudySpec, TrainingSpec

VALIDATIONS = 4


def study(**changes: object) -> StudySpec:
    """Two methods that validate four times, without a pruner unless it is asked for."""
    training = TrainingSpec(validations=VALIDATIONS, num_train_epochs=2, effective_batch_size=16)
    methods = {"lora": {"kind": "lora", "peft": {}}, "full": {"kind": "full"}}
    filled = {name: {**method, "training": training.model_dump()} for name, method in methods.items()}
    return toy_study(methods=filled, training=training.model_dump(), **changes)


def budget(**bounds: object) -> dict[str, object]:
    return BudgetSpec.model_validate(bounds).model_dump()
