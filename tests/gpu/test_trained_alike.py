"""LoRA, QLoRA and full fine-tuning come to the same in lanes, alone and by TRL, on every device."""

from importlib.util import find_spec

import pytest
import torch
from agreement import (
    NEAR,
    ROUNDED,
    SLACK,
    alone_beside_plain,
    apart,
    deviation,
    gradients_over_four_bits,
    lanes_beside_alone,
    reshaped,
    steps_of,
    with_attention,
)
from lanes_bench import Trial, lora

from sweep.spec import MethodSpec, TrainingSpec

# These tests call PEFT themselves; it reads this attribute by the name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
SHORT = {"num_train_epochs": 1.0, "optim": "adamw_torch"}
FULL = MethodSpec(
    kind="full",
    training=TrainingSpec(
        learning_rate=1e-3, effective_batch_size=4, per_device_train_batch_size=2, validations=1, **SHORT
    ),
)


def different(*, quantized: bool) -> dict[str, Trial]:
    """Lanes of other ranks, modules, dropout and micro-batches."""
    return {
        "plain": Trial(lora(quantized=quantized, **SHORT), 3),
        "dropout": Trial(
            lora(peft={"lora_r": 16, "lora_dropout": 0.3}, quantized=quantized, **SHORT, max_grad_norm=0.3), 4
        ),
        "accumulating": Trial(
            lora(
                peft={"lora_target_modules": ("q_proj", "down_proj"), "use_rslora": True},
                quantized=quantized,
                **{**SHORT, "per_device_train_batch_size": 1},
            ),
            5,
        ),
    }


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_in_float32_lanes_give_what_each_trial_gives_alone(benches, device, quantized) -> None:
    found = lanes_beside_alone(benches(device), different(quantized=quantized), width=3)

    near = NEAR[device.type]
    assert {name: one.losses < near.losses for name, one in found.items()} == dict.fromkeys(found, True)
    assert {name: one.weights < near.weights for name, one in found.items()} == dict.fromkeys(found, True)


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_in_bfloat16_lanes_deviate_no_more_than_two_batch_shapes_of_trl(benches, device, quantized) -> None:
    bench = benches(device, "bfloat16")
    trials = {
        "rank": Trial(lora(peft={"lora_r": 16}, quantized=quantized, **SHORT), 4),
        "modules": Trial(lora(peft={"lora_target_modules": ("q_proj", "down_proj")}, quantized=quantized, **SHORT), 5),
    }
    found = lanes_beside_alone(bench, trials, width=2)

    for name, trial in trials.items():
        bench.alone(reshaped(trial), f"{name}-reshaped")
        two_shapes = apart(bench, f"{name}-reshaped", f"{name}-alone")
        assert found[name].losses < SLACK * max(two_shapes.losses, ROUNDED)
        assert found[name].weights < SLACK * two_shapes.weights


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_in_float32_a_trial_alone_is_what_a_plain_trainer_gives(benches, device, kind) -> None:
    trial = Trial(FULL if kind == "full" else lora(**SHORT), 3)

    found = alone_beside_plain(benches(device), trial, kind)

    assert found.losses < NEAR[device.type].losses
    assert kind == "full" or found.weights < NEAR[device.type].weights


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_gradients_over_four_bits_are_those_over_the_dequantized_weights(benches, device, dtype, near) -> None:
    # With B at zero, as adapters start, A has no gradient.
    random_start = {"init_lora_weights": False}
    four_bit, plain = (lora(peft=random_start, quantized=quantized) for quantized in (True, False))

    assert gradients_over_four_bits(benches(device, dtype), four_bit, plain) < near


@pytest.mark.gpu
@pytest.mark.parametrize("optim", ["paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit"])
@pytest.mark.parametrize("way", ["alone", "lanes"])
def test_paged_and_8_bit_states_train_like_torchs_own(benches, cuda, optim, way) -> None:
    bench = benches(cuda)
    trials = {name: Trial(lora(peft={"lora_r": 64}, **{**SHORT, "optim": name})) for name in (optim, "adamw_torch")}
    if way == "lanes":
        bench.together(trials, width=2)
    else:
        for name, trial in trials.items():
            bench.alone(trial, name)

    assert deviation(bench.losses(optim), bench.losses("adamw_torch")) < (0.05 if "8bit" in optim else 1e-3)


@pytest.mark.parametrize("implementation", ["sdpa", "flash_attention_2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_back_ends_train_like_the_plainest(benches, device, implementation, dtype, tmp_path) -> None:
    if implementation != "sdpa" and (device.type == "cpu" or find_spec("flash_attn") is None):
        pytest.skip("flash attention is not installed, or has no kernels for this device")
    if implementation != "sdpa" and dtype == "float32":
        pytest.skip("flash attention has no float32")
    bench, trial = benches(device, dtype), Trial(lora(**SHORT))
    plainest = steps_of(with_attention(bench, "eager", tmp_path / "eager"), trial, "eager")

    found = steps_of(with_attention(bench, implementation, tmp_path / "other"), trial, "other")

    assert deviation(found, plainest) < (NEAR[device.type].losses if dtype == "float32" else 0.02)


@pytest.mark.gpu
def test_lanes_over_a_base_whose_layers_liger_has_replaced_train_the_same(benches, cuda) -> None:
    liger = pytest.importorskip("liger_kernel.transformers", reason="Liger is not installed")
    bench, trial = benches(cuda), Trial(lora(**SHORT))
    base = bench.base(trial.method)
    liger.apply_liger_kernel_to_llama(model=base, fused_linear_cross_entropy=False)
    lanes = bench.lanes(trial.method, width=2, base=base)
    for name in ("liger", "twin"):
        lanes.seat(bench.job(trial, name))
    while lanes.seated:
        lanes.step()
    lanes.close()

    assert deviation(bench.losses("liger"), steps_of(bench, trial, "plain")) < 10 * NEAR["cuda"].losses


@pytest.mark.gpu
def test_a_lane_on_a_gpu_learns_what_it_learns_on_a_cpu(benches, cuda) -> None:
    trial = Trial(lora(**SHORT))
    on_gpu, on_cpu = benches(cuda), benches(torch.device("cpu"))
    on_gpu.together({"gpu": trial})
    on_cpu.together({"cpu": trial})

    assert deviation(on_gpu.losses("gpu"), on_cpu.losses("cpu")) < 1e-3
