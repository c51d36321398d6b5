"""An optimizer's states, against those that the optimizers themselves make: to the byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from shapes import llama_shape
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from sweep.adapters import lora_config
from sweep.plan.inspect import shape_of
from sweep.plan.optimizer import MIN_PAGED, optimizer_bytes, tensors
from sweep.plan.ranges import Range
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.training.arguments import resolve_optim

# PEFT reads attributes that transformers is renaming; paged optimizers say that they are not paged on a CPU.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing.*:FutureWarning", "ignore:.*kernels.*", "ignore:Paged optimizers:UserWarning"
)

HERE = (
    "adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "adamw_bnb_8bit", "adamw_8bit", "ademamix",
    "ademamix_8bit", "lion_8bit", "lion_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
    "paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit",
    "paged_lion_8bit",
)  # fmt: skip
"""Optimizers that need no package of their own."""
LORA = PeftSpec(lora_r=48)
"""Some of its tensors are below 4,096 values and some above."""


def build(*, tied: bool, biases: bool = False) -> torch.nn.Module:
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=72,
        intermediate_size=100,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=18,
        tie_word_embeddings=tied,
        attention_bias=biases,
    )
    return LlamaForCausalLM(config)


def method(optim: str, peft: PeftSpec | None) -> MethodSpec:
    return MethodSpec(kind="full" if peft is None else "lora", peft=peft, training=TrainingSpec(optim=optim))


@pytest.fixture
def overrides() -> Iterator[None]:
    """bitsandbytes keeps what is said of embeddings for the whole process."""
    yield
    from bitsandbytes.optim import GlobalOptimManager

    GlobalOptimManager.get_instance().initialize()


def measured(model: torch.nn.Module, optim: str, output: Path) -> int:
    """Bytes of all states after a step; counters and tables of 8-bit values, which are no weight's, apart."""
    arguments = TrainingArguments(output_dir=str(output), optim=optim, use_cpu=True, report_to="none")
    optimizer = Trainer(model, arguments).create_optimizer()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 1e-3) if weight.requires_grad else None
    optimizer.step()
    states = [
        value
        for state in getattr(optimizer, "optimizer", optimizer).state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and name != "step" and not name.startswith("qmap")
    ]
    return sum(value.numel() * value.element_size() for value in states)


@pytest.mark.usefixtures("overrides")
@pytest.mark.parametrize("optim", HERE)
def test_full_fine_tunings_states_are_counted_to_the_byte(optim: str, tmp_path: Path) -> None:
    model = build(tied=True)
    held, _ = optimizer_bytes(method(optim, None), shape_of(model), "cpu")

    assert held == Range.exactly(measured(model, optim, tmp_path))


@pytest.mark.usefixtures("overrides")
@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_8bit", "ademamix_8bit"])
def test_an_output_layer_of_its_own_and_biases_count_too(optim: str, tmp_path: Path) -> None:
    model = build(tied=False, biases=True)
    held, _ = optimizer_bytes(method(optim, None), shape_of(model), "cpu")

    assert held == Range.exactly(measured(model, optim, tmp_path))


@pytest.mark.usefixtures("overrides")
@pytest.mark.parametrize("optim", HERE)
def test_an_adapters_states_are_counted_to_the_byte(optim: str, tmp_path: Path) -> None:
    from peft import get_peft_model

    model = build(tied=True)
    held, _ = optimizer_bytes(method(optim, LORA), shape_of(model), "cpu")

    assert held == Range.exactly(measured(get_peft_model(model, lora_config(LORA)), optim, tmp_path))


def test_doras_magnitudes_are_trained_too() -> None:
    from peft import get_peft_model

    peft = PeftSpec(lora_r=4, use_dora=True, lora_target_modules=("q_proj", "down_proj"))
    model = build(tied=True)
    counted = sorted(size for size, _ in tensors(method("auto", peft), shape_of(model)))
    adapted = get_peft_model(model, lora_config(peft))

    assert counted == sorted(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def test_auto_is_what_a_trial_resolves_it_to() -> None:
    shape = llama_shape()
    for device in ("cpu", "cuda"):
        named = resolve_optim("auto", torch.device(device))
        assert optimizer_bytes(method("auto", LORA), shape, device) == optimizer_bytes(
            method(named, LORA), shape, device
        )


def test_paged_states_of_large_tensors_may_leave_a_gpu() -> None:
    shape = llama_shape(512, 1024, 1, 4, 4, 300)
    held, paged = optimizer_bytes(method("paged_adamw_32bit", None), shape, "cuda")
    large = sum(size for size, _ in tensors(method("auto", None), shape) if size >= MIN_PAGED)

    assert 0 < large < shape.total_parameters
    assert paged == Range(0, 8 * large, 8 * large)
    assert held == Range(8 * (shape.total_parameters - large), 8 * shape.total_parameters, 8 * shape.total_parameters)
    # A CPU has nowhere else to put them.
    assert optimizer_bytes(method("paged_adamw_32bit", None), shape, "cpu")[1] == Range.exactly(0)
    assert optimizer_bytes(method("adamw_torch", None), shape, "cuda")[1] == Range.exactly(0)


def test_every_name_of_transformers_is_known_or_said_to_be_anything_up_to_adamw() -> None:
    shape = llama_shape()
    adamw = optimizer_bytes(method("adamw_torch", None), shape, "cpu")[0].high
    unknown = {
        name.value
        for name in OptimizerNames
        if optimizer_bytes(method(name.value, None), shape, "cpu")[0].low == 0 and name.value != "sgd"
    }

    assert not unknown & set(HERE)
    assert unknown >= {"adafactor", "schedule_free_sgd", "galore_adamw", "apollo_adamw", "lomo", "adamw_torch_4bit"}
    for name in unknown - {"galore_adamw_8bit", "galore_adamw_8bit_layerwise"}:
        assert optimizer_bytes(method(name, None), shape, "cpu")[0] == Range(0, adamw, adamw)
