"""What cannot be trained and scored right is refused before it costs anything."""

import pytest

from evals.errors import ModelError
from evals.spec import QuantizationSpec
from sweep.method_rules import complaints, quantization_of, refuse_impossible
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec

TRAINING = TrainingSpec()


def method(kind, *, four_bit=False, **peft) -> MethodSpec:
    return MethodSpec(kind=kind, peft=PeftSpec(**peft) if peft else None, load_in_4bit=four_bit, training=TRAINING)


@pytest.mark.parametrize(
    ("impossible", "named"),
    [
        (method("lora", init_lora_weights="loftq"), "'loftq'"),
        (method("qlora", init_lora_weights="pissa"), "'pissa'"),
        (method("qlora", init_lora_weights="olora"), "'olora'"),
        (method("lora", four_bit=True, init_lora_weights="olora"), "'olora'"),
        (method("qlora", init_lora_weights="orthogonal"), "'orthogonal'"),
        (method("lora", init_lora_weights="orthogonal", lora_r=3), "3 is odd"),
        (method("full", lora_r=4), "peft"),
        (method("full", four_bit=True), "load_in_4bit"),
    ],
)
def test_an_impossible_method_is_refused_in_one_line_that_names_the_key(impossible, named) -> None:
    with pytest.raises(ModelError, match=named) as refusal:
        refuse_impossible("mine", impossible)

    assert str(refusal.value).startswith("methods.mine: ")
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "possible",
    [
        method("lora"),
        method("lora", init_lora_weights="pissa", use_dora=True, use_rslora=True),
        method("lora", four_bit=True, init_lora_weights="loftq"),
        method("qlora", init_lora_weights="loftq", use_dora=True),
        method("qlora", init_lora_weights="gaussian"),
        method("full"),
    ],
)
def test_a_possible_method_draws_no_complaint(possible) -> None:
    assert complaints(possible) == ()


@pytest.mark.parametrize(
    ("training", "named"),
    [
        ({"num_processes": 3, "effective_batch_size": 16}, "16 is no multiple of num_processes 3"),
        ({"num_processes": 2, "optim": "paged_adamw_8bit"}, "'paged_adamw_8bit' cannot step weights"),
    ],
)
def test_what_cannot_be_divided_among_processes_is_refused(training, named) -> None:
    divided = method("lora").model_copy(update={"training": TrainingSpec(**training)})

    with pytest.raises(ModelError, match=named):
        refuse_impossible("mine", divided)
    refuse_impossible("mine", divided.model_copy(update={"training": TrainingSpec(**training | {"num_processes": 1})}))


def test_qlora_is_quantized_without_being_told_and_lora_is_not() -> None:
    assert quantization_of(method("qlora")) == QuantizationSpec(bnb_4bit_quant_type="nf4", use_bnb_nested_quant=True)
    assert quantization_of(method("lora", four_bit=True)) == QuantizationSpec()
    assert quantization_of(method("lora")) is None
    assert quantization_of(method("full")) is None
