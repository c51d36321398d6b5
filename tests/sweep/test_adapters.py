"""What is made trainable, how it starts, and that scoring sees what was trained."""

import itertools
import json
from functools import partial
from typing import get_args

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel

from evals.errors import ModelError
from evals.models.load import keep_unpacked, load_model
from evals.spec import ModelSpec
from sweep.adapters import METHODS, Trainee, attach, low_rank
from sweep.errors import TrialError
from sweep.method_rules import quantization_of
from sweep.models import load_for_training, trainable_weights, weights_sha256
from sweep.spec import MethodKind, MethodSpec, PeftSpec, TrainingSpec

# These tests call PEFT themselves; it reads this attribute by the name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
CPU = torch.device("cpu")
ROWS = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 2], [1, 41, 51, 61, 71, 81, 91, 2]])


def describe(kind, **peft) -> MethodSpec:
    adapter = None if kind == "full" else PeftSpec(**{"lora_r": 4, **peft})
    return MethodSpec(kind=kind, peft=adapter, training=TrainingSpec())


def build(directory, method, *, seed=0, dtype="float32", base=None) -> Trainee:
    spec = ModelSpec(model_name_or_path=str(directory), dtype=dtype)
    base = base or load_for_training(spec, method, cache=directory, device=CPU)
    load_original = partial(load_model, spec, cache=directory, device=CPU)
    return attach(base, method, spec, seed=seed, load_original=load_original)


def gradients(model) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()
    model(input_ids=ROWS, labels=ROWS).loss.backward()
    return {name: weight.grad.clone() for name, weight in trainable_weights(model).items()}


def nudge(model) -> None:
    """Train a few steps by hand."""
    optimizer = torch.optim.SGD(trainable_weights(model).values(), lr=0.5)
    for _ in range(3):
        gradients(model)
        optimizer.step()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(input_ids=ROWS).logits.float()


def load_saved(directory, checkpoint, method, *, dtype="float32"):
    spec = ModelSpec(model_name_or_path=str(directory), dtype=dtype)
    quantization = quantization_of(method)
    whole = checkpoint if method.kind == "full" else None
    base = load_model(spec, cache=directory, device=CPU, quantization=quantization, checkpoint=whole)
    keep_unpacked(base)
    return base if whole else PeftModel.from_pretrained(base, checkpoint)


def fill_with_dequantized(plain, four_bit) -> None:
    for name, layer in plain.named_modules():
        weight = getattr(four_bit.get_submodule(name), "weight", None)
        if getattr(weight, "quant_state", None) is not None:
            layer.weight.data = dequantize_4bit(weight.data, weight.quant_state).float()


def test_the_table_has_every_kind_of_method() -> None:
    assert set(METHODS) == set(get_args(MethodKind))


def test_qlora_gradients_equal_those_of_lora_over_the_dequantized_weights(tiny_model) -> None:
    four_bit = load_for_training(
        ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), describe("qlora"), cache=tiny_model, device=CPU
    )
    plain = load_for_training(
        ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), describe("lora"), cache=tiny_model, device=CPU
    )
    fill_with_dequantized(plain, four_bit)
    # Gaussian starts leave B at zero and thus A without a gradient; a random B gives every weight one.
    qlora = build(tiny_model, describe("qlora", init_lora_weights=False), base=four_bit).model
    lora = build(tiny_model, describe("lora", init_lora_weights=False), base=plain).model
    assert weights_sha256(qlora) == weights_sha256(lora)

    found, expected = gradients(qlora), gradients(lora)

    assert all(bool(gradient.abs().max() > 0) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layer_still_gets_the_same_gradient_after_a_validation_pass(tiny_model, dtype) -> None:
    model = build(tiny_model, describe("qlora", init_lora_weights=False), dtype=dtype).model
    before = gradients(model)

    logits(model)

    after = gradients(model)
    assert all(torch.equal(after[name], gradient) for name, gradient in before.items())
    assert all(bool(gradient.abs().max() > 0) for gradient in after.values())


STARTS = {"lora": (True, "gaussian", "pissa", "olora", "orthogonal"), "qlora": (True, "gaussian", "loftq")}
VARIANTS = [
    (kind, {"init_lora_weights": start, "use_dora": dora, "use_rslora": rslora})
    for kind, starts in STARTS.items()
    for start, dora, rslora in itertools.product(starts, (False, True), (False, True))
]


@pytest.mark.parametrize(("kind", "options"), [*VARIANTS, ("full", {})], ids=str)
def test_what_was_trained_is_what_scoring_loads(tiny_model, tmp_path, kind, options) -> None:
    method = describe(kind, **options)
    trainee = build(tiny_model, method)
    untrained = logits(trainee.model)
    nudge(trainee.model)

    trainee.save(tmp_path / "checkpoint")

    expected = logits(trainee.model)
    assert (expected - untrained).abs().max() > 0.01
    torch.testing.assert_close(
        logits(load_saved(tiny_model, tmp_path / "checkpoint", method)), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("dora", [False, True])
def test_a_start_leaves_the_model_as_it_is(tiny_model, dora) -> None:
    base = logits(
        load_model(ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), cache=tiny_model, device=CPU)
    )

    for start in STARTS["lora"]:
        model = build(tiny_model, describe("lora", init_lora_weights=start, use_dora=dora)).model
        torch.testing.assert_close(logits(model), base, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{"lora_alpha": 4}, {"lora_alpha": 32}, {"lora_alpha": 8, "use_rslora": True}])
def test_loftq_starts_nearer_to_the_unrounded_weights_whatever_the_scale(tiny_model, options) -> None:
    method = describe("qlora", init_lora_weights="loftq", lora_r=16, **options)
    model = build(tiny_model, method).model
    original = load_model(ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), cache=tiny_model, device=CPU)
    layers = [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A")]
    assert len(layers) == 14

    for name, layer in layers:
        exact = original.get_submodule(name.removeprefix("base_model.model.")).weight
        rounded = layer.get_base_layer().weight
        error = exact - dequantize_4bit(rounded.data, rounded.quant_state)
        _, singular, _ = torch.linalg.svd(error)
        left = error - layer.get_delta_weight("default")
        torch.testing.assert_close(left.norm(), singular[16:].norm(), rtol=1e-3, atol=1e-5)


def test_dora_over_a_loftq_start_keeps_the_magnitudes_of_the_weights_that_it_starts_with(tiny_model) -> None:
    model = build(tiny_model, describe("qlora", init_lora_weights="loftq", use_dora=True)).model

    for layer in (module for module in model.modules() if hasattr(module, "lora_A")):
        rounded = layer.get_base_layer().weight
        started = dequantize_4bit(rounded.data, rounded.quant_state) + layer.get_delta_weight("default")
        torch.testing.assert_close(layer.lora_magnitude_vector["default"].weight, started.norm(dim=1))


@pytest.mark.parametrize(("rslora", "alpha"), [(False, 64), (True, 32 * 2**0.5)])
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_took_a_part_of_the_base_is_saved_as_an_ordinary_one(
    tiny_model, tmp_path, start, rslora, alpha
) -> None:
    trainee = build(tiny_model, describe("lora", init_lora_weights=start, use_rslora=rslora))

    trainee.save(tmp_path / "saved")

    # PEFT would decompose the base again for one that names its start; other tools would not.
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"], config["lora_alpha"]) == (True, 8, pytest.approx(alpha))
    assert trainee.model.peft_config["default"].r == 4


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (8, 8)])
def test_the_low_rank_factors_are_the_truncated_singular_value_decomposition(shape) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)

    down, up = low_rank(matrix, 3)

    torch.testing.assert_close(up @ down, u[:, :3] @ torch.diag(s[:3]) @ v[:3], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(down.norm(), up.norm())


def test_lora_and_qlora_start_from_the_same_adapter_in_float32(tiny_model) -> None:
    lora = build(tiny_model, describe("lora"), dtype="bfloat16").model
    qlora = build(tiny_model, describe("qlora"), dtype="bfloat16").model

    assert weights_sha256(lora) == weights_sha256(qlora)
    assert {weight.dtype for weight in trainable_weights(qlora).values()} == {torch.float32}


def test_the_seed_alone_decides_how_an_adapter_starts(tiny_model) -> None:
    torch.manual_seed(99)
    first = weights_sha256(build(tiny_model, describe("lora"), seed=1).model)
    torch.manual_seed(77)

    assert weights_sha256(build(tiny_model, describe("lora"), seed=1).model) == first
    assert weights_sha256(build(tiny_model, describe("lora"), seed=2).model) != first


def test_a_saved_adapter_names_the_users_model_and_no_path_of_this_machine(tiny_model, tmp_path) -> None:
    spec = ModelSpec(model_name_or_path="package:some_model", revision="v2", dtype="float32")
    base = load_model(ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), cache=tmp_path, device=CPU)
    trainee = attach(base, describe("lora"), spec, seed=0, load_original=lambda: base)

    trainee.save(tmp_path / "saved")

    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("package:some_model", "v2")
    assert config["target_modules"] == sorted(config["target_modules"])
    written = b"".join(path.read_bytes() for path in (tmp_path / "saved").iterdir())
    assert str(tiny_model).encode() not in written


def test_a_full_checkpoint_is_in_the_models_dtype_and_keeps_its_settings(tiny_model, tmp_path) -> None:
    trainee = build(tiny_model, describe("full"), dtype="bfloat16")
    trainee.model.config.use_cache = False
    trainee.model.generation_config.eos_token_id = 99

    trainee.save(tmp_path / "saved")

    saved = load_saved(tiny_model, tmp_path / "saved", describe("full"), dtype="bfloat16")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "bfloat16"
    assert saved.config.use_cache
    assert saved.generation_config.eos_token_id != 99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_target_modules": ("no_such_layer",)}, "no_such_layer"),
        ({"lora_target_modules": ("lm_head",)}, "output layer"),
        ({"lora_r": 65, "init_lora_weights": "pissa"}, "rank"),
    ],
)
def test_an_adapter_that_does_not_fit_the_model_is_infeasible(tiny_model, options, message) -> None:
    with pytest.raises(TrialError, match=message) as refusal:
        build(tiny_model, describe("lora", **options))

    assert refusal.value.kind == "infeasible"
    assert "\n" not in str(refusal.value)


def test_an_impossible_method_is_the_users_mistake_and_not_a_trials_result(tiny_model) -> None:
    with pytest.raises(ModelError, match="loftq"):
        build(tiny_model, describe("lora", init_lora_weights="loftq"))
