"""The base model as training needs it."""

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from peft import LoraConfig, get_peft_model

from evals.models.load import load_model
from evals.spec import ModelSpec, QuantizationSpec
from sweep.errors import MachineError
from sweep.models import (
    count_parameters,
    load_for_training,
    nondeterminism,
    release_memory,
    weights_are_finite,
    weights_sha256,
    without_loading_bars,
)
from sweep.spec import MethodSpec, TrainingSpec

# These tests call PEFT themselves; it reads this attribute by the name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
CPU = torch.device("cpu")


def method(kind) -> MethodSpec:
    return MethodSpec(kind=kind, training=TrainingSpec())


def spec(tiny_model, dtype="bfloat16") -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype=dtype)


@pytest.mark.parametrize(("kind", "kept"), [("lora", torch.bfloat16), ("full", torch.float32)])
def test_full_fine_tuning_keeps_float32_weights_where_an_adapter_keeps_the_models_dtype(
    tiny_model, tmp_path, kind, kept
) -> None:
    model = load_for_training(spec(tiny_model), method(kind), cache=tmp_path, device=CPU)

    assert {weight.dtype for weight in model.parameters()} == {kept}


def test_float16_on_a_cpu_is_refused_before_anything_is_loaded(tmp_path) -> None:
    with pytest.raises(MachineError, match="float16"):
        load_for_training(spec("nowhere", "float16"), method("lora"), cache=tmp_path, device=CPU)


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU never repacks 4-bit weights")
def test_a_validation_pass_does_not_repack_4bit_weights_as_scoring_does(tiny_model, tmp_path) -> None:
    scored = load_model(spec(tiny_model), cache=tmp_path, device=CPU, quantization=QuantizationSpec())
    trained = load_for_training(spec(tiny_model), method("qlora"), cache=tmp_path, device=CPU)

    def repacked(model) -> bool:
        with torch.no_grad():
            model.eval()(input_ids=torch.arange(8)[None])
        state = model.model.layers[0].self_attn.q_proj.weight.quant_state
        return bool(getattr(state, "packing_format_for_cpu", False))

    assert repacked(scored)
    assert not repacked(trained)


def test_parameters_of_a_4bit_model_are_counted_as_peft_counts_them(tiny_model, tmp_path) -> None:
    plain = load_for_training(spec(tiny_model), method("full"), cache=tmp_path, device=CPU)
    base = load_for_training(spec(tiny_model), method("qlora"), cache=tmp_path, device=CPU)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))

    counted = count_parameters(adapted)

    assert (counted.trainable, counted.total) == adapted.get_nb_trainable_parameters()
    assert counted.total - counted.trainable == count_parameters(plain).total


def test_the_hash_of_trainable_weights_follows_them_and_nothing_else(tiny_model, tmp_path) -> None:
    model = load_for_training(spec(tiny_model), method("full"), cache=tmp_path, device=CPU)
    norm, first = model.model.norm.weight, model.model.layers[0].mlp.up_proj.weight
    first.requires_grad = False
    before = weights_sha256(model)

    with torch.no_grad():
        first.add_(1)
    assert weights_sha256(model) == before

    with torch.no_grad():
        norm[0] += 1
    assert weights_sha256(model) != before


def test_a_weight_that_is_not_a_number_is_found() -> None:
    layer = torch.nn.Linear(2, 2)
    assert weights_are_finite(layer)

    with torch.no_grad():
        layer.bias[1] = torch.nan
    assert not weights_are_finite(layer)


def test_releasing_memory_frees_the_embeddings_that_bitsandbytes_was_told_of() -> None:
    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    manager.register_module_override(torch.nn.Embedding(2, 2), "weight", {"optim_bits": 32})

    release_memory()

    assert manager.module_weight_config_triple == []


def test_loading_draws_no_bar_and_leaves_the_callers_setting(tiny_model, tmp_path, capfd) -> None:
    with without_loading_bars():
        load_for_training(spec(tiny_model), method("lora"), cache=tmp_path, device=CPU)
    assert "Loading" not in capfd.readouterr().err

    load_for_training(spec(tiny_model), method("lora"), cache=tmp_path, device=CPU)
    assert "Loading" in capfd.readouterr().err


def test_a_device_whose_sums_have_no_fixed_order_is_told_apart() -> None:
    assert nondeterminism(torch.device("cpu")) is None
    assert "no fixed order" in nondeterminism(torch.device("cuda"))
