"""What is read off a model's configuration, held against real models with PEFT's own adapters on them."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from shapes import llama_shape
from transformers import AutoModelForCausalLM, GPT2Config, Qwen3Config

from evals.errors import ModelError
from evals.models.load import load_model
from evals.spec import ModelSpec, QuantizationSpec
from sweep.adapters import attach
from sweep.models import count_parameters, load_for_training, trainable_weights
from sweep.plan.inspect import device_of, inspect_if_known, inspect_model, shape_of
from sweep.plan.memory import trainable_parameters, weight_bytes
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec

CPU = torch.device("cpu")
NAMED = ["q_proj", "v_proj"]
ADAPTERS = {
    "all-linear": PeftSpec(lora_r=4),
    "named": PeftSpec(lora_r=4, lora_target_modules=NAMED),
    "whole name": PeftSpec(lora_r=4, lora_target_modules=["model.layers.1.mlp.down_proj"]),
    "expression": PeftSpec(lora_r=4, lora_target_modules=r".*\.0\.self_attn\.(k|o)_proj"),
    "dora": PeftSpec(lora_r=4, use_dora=True),
}


def spec_of(directory: Path) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(directory), dtype="float32")


def trainee(directory: Path, method: MethodSpec) -> torch.nn.Module:
    spec = spec_of(directory)
    base = load_for_training(spec, method, cache=directory, device=CPU)
    return attach(
        base, method, spec, seed=0, load_original=partial(load_model, spec, cache=directory, device=CPU)
    ).model


def test_the_shape_is_the_models_own(tiny_model: Path) -> None:
    shape = inspect_model(spec_of(tiny_model), cache=tiny_model)
    by_hand = llama_shape(vocabulary=shape.vocabulary)

    assert {(line.name, line.inputs, line.outputs, line.layer) for line in shape.linears} == {
        (line.name, line.inputs, line.outputs, line.layer) for line in by_hand.linears
    }
    assert shape.total_parameters == by_hand.total_parameters
    assert (shape.layers, shape.heads, shape.key_value_heads, shape.head_width, shape.norms) == (2, 4, 2, 16, 2)
    assert (shape.head_parameters, shape.is_known, shape.head_norms) == (0, True, False)


@pytest.mark.parametrize("kind", ["lora", "qlora"])
@pytest.mark.parametrize("peft", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_adapters_are_put_where_peft_puts_them_and_are_as_large(tiny_model: Path, kind: str, peft: PeftSpec) -> None:
    method = MethodSpec(kind=kind, peft=peft, training=TrainingSpec())
    shape = inspect_model(spec_of(tiny_model), cache=tiny_model)
    model = trainee(tiny_model, method)

    adapted = {name.partition(".lora_A")[0] for name in trainable_weights(model) if ".lora_A" in name}
    assert {f"base_model.model.{line.name}" for line in shape.targets(peft.lora_target_modules)} == adapted
    assert trainable_parameters(method, shape) == count_parameters(model).trainable
    assert shape.total_parameters == count_parameters(model).total - count_parameters(model).trainable


def test_full_fine_tuning_trains_every_parameter(tiny_model: Path) -> None:
    method = MethodSpec(kind="full", training=TrainingSpec())
    shape = inspect_model(spec_of(tiny_model), cache=tiny_model)
    model = trainee(tiny_model, method)

    assert trainable_parameters(method, shape) == count_parameters(model).trainable == shape.total_parameters
    assert weight_bytes(spec_of(tiny_model), method, shape) == sum(weight.nbytes for weight in model.parameters())


@pytest.mark.parametrize("nested", [True, False])
def test_a_4_bit_base_takes_the_bytes_that_bitsandbytes_takes(tiny_model: Path, nested: bool) -> None:
    method = MethodSpec(
        kind="qlora",
        peft=PeftSpec(lora_r=4),
        training=TrainingSpec(),
        quantization=QuantizationSpec(use_bnb_nested_quant=nested),
    )
    shape = inspect_model(spec_of(tiny_model), cache=tiny_model)
    base = load_for_training(spec_of(tiny_model), method, cache=tiny_model, device=CPU)

    taken = sum(weight.nbytes for weight in base.parameters())
    for layer in (module for module in base.modules() if isinstance(module, Linear4bit)):
        state = layer.weight.quant_state
        taken += state.absmax.nbytes + (state.state2.absmax.nbytes if nested else 0)
    assert weight_bytes(spec_of(tiny_model), method, shape) == taken


def test_an_untied_output_layer_is_counted_and_never_adapted() -> None:
    config = Qwen3Config(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, tie_word_embeddings=False,
    )  # fmt: skip
    shape = shape_of(AutoModelForCausalLM.from_config(config))

    assert (shape.head_parameters, shape.embedding_parameters) == (50 * 16, 50 * 16)
    assert not any("lm_head" in line.name for line in shape.linears)
    # A head may be wider than its share of the stream, and its norms are not the stream's.
    assert (shape.head_width, shape.head_norms, shape.norms, shape.is_known) == (32, True, 2, True)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_model_whose_linears_are_of_another_class_is_adapted_in_them_too() -> None:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2))
    shape = shape_of(model)
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))

    method = MethodSpec(kind="lora", peft=PeftSpec(lora_r=4), training=TrainingSpec())
    assert trainable_parameters(method, shape) == count_parameters(peft).trainable > 0
    assert {line.layer for line in shape.linears} == {0, 1}
    assert not shape.is_known


def test_a_config_file_is_enough(tiny_model: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text((tiny_model / "config.json").read_text("utf-8"), "utf-8")

    shape = inspect_model(spec_of(tmp_path / "nowhere"), cache=tmp_path, config_file=config)
    assert shape == inspect_model(spec_of(tiny_model), cache=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"model_type": "nobody-has-this"}),
        json.dumps({"model_type": "llama", "vocab_size": "x"}),
        json.dumps({"model_type": "llama", "num_attention_heads": 0}),
        # Layers that have no attention.
        json.dumps({"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 9}),
    ],
)
def test_what_is_no_configuration_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(text, "utf-8")

    with pytest.raises(ModelError, match="--model-config FILE") as raised:
        inspect_model(spec_of(tmp_path), cache=tmp_path, config_file=config)
    assert len(str(raised.value).splitlines()) == 1


def test_a_study_runs_without_the_shape_of_a_model_that_cannot_be_made_out(tmp_path: Path) -> None:
    assert inspect_if_known(spec_of(tmp_path), cache=tmp_path) is None


def test_a_cpu_has_the_machines_memory() -> None:
    device = device_of(CPU)

    assert device.kind == "cpu"
    assert 0 < device.free_bytes <= device.memory_bytes
