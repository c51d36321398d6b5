"""A lane gives what TRL's SFTTrainer gives alone with the same config."""

import pytest
from lanes_bench import Bench, Trial, distance, drain, lora

ALL_DIFFERENT = {
    "plain": ({}, {}, 3),
    "rank": ({"lora_r": 16, "lora_alpha": 16}, {"learning_rate": 1e-3}, 4),
    "rslora": ({"lora_r": 8, "use_rslora": True}, {"lr_scheduler_type": "linear", "warmup_steps": 2}, 5),
    "targets": ({"lora_target_modules": ("q_proj", "v_proj")}, {"max_grad_norm": 0.1}, 6),
    "dropout": ({"lora_dropout": 0.3}, {"weight_decay": 0.1}, 7),
    "both": (
        {"lora_dropout": 0.1, "lora_target_modules": ("up_proj", "down_proj")},
        {"num_train_epochs": 2.0, "lr_scheduler_type": "constant"},
        8,
    ),
    "batch": ({"lora_r": 2}, {"effective_batch_size": 3, "per_device_train_batch_size": 3, "max_steps": 7}, 9),
    "accumulation": (
        {"init_lora_weights": "gaussian"},
        {"effective_batch_size": 8, "per_device_train_batch_size": 1, "adam_beta2": 0.95, "max_grad_norm": 0.0},
        10,
    ),
}


def trials(*, quantized: bool = False) -> dict[str, Trial]:
    return {
        name: Trial(lora(peft=peft, quantized=quantized, **training), seed)
        for name, (peft, training, seed) in ALL_DIFFERENT.items()
    }


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_eight_lanes_that_differ_in_everything_give_what_each_gives_alone(bench: Bench, quantized: bool) -> None:
    together = bench.together(trials(quantized=quantized))

    for name, trial in trials(quantized=quantized).items():
        alone = bench.alone(trial, f"{name}-alone")
        mine, ours = together[name].outcome, alone
        assert mine is not None, together[name].error
        assert bench.losses(name) == pytest.approx(bench.losses(f"{name}-alone"), rel=1e-5), name
        assert distance(bench.weights(name), bench.weights(f"{name}-alone")) < 1e-4, name
        assert mine.result.initial_sha256 == ours.result.initial_sha256
        assert mine.intermediate == pytest.approx(ours.intermediate, rel=1e-5)
        assert mine.result.tokens == ours.result.tokens
        assert (mine.result.trainable_parameters, mine.result.total_parameters) == (
            ours.result.trainable_parameters,
            ours.result.total_parameters,
        )
        for one, other in zip(bench.steps(name), bench.steps(f"{name}-alone"), strict=True):
            assert one.keys() == other.keys()
            for key in one.keys() - {"seconds"}:
                assert one[key] == pytest.approx(other[key], rel=1e-4), (name, key)
        files = [
            sorted(path.name for path in (bench.path / directory / "checkpoint").iterdir())
            for directory in (name, f"{name}-alone")
        ]
        assert files[0] == files[1]


def test_checkpointed_activations_are_recomputed_and_change_nothing(bench: Bench) -> None:
    saving = Trial(lora(peft={"lora_dropout": 0.3}, gradient_checkpointing=True), seed=5)
    lanes = bench.lanes(saving.method, width=2)
    lanes.seat(bench.job(saving, "saving"))
    lanes.seat(bench.job(Trial(lora(), seed=6), "beside"))
    layer, calls = lanes._base.base_model.layers[0].mlp, []
    handle = layer.register_forward_pre_hook(lambda *_: calls.append(1))
    lanes.step()
    handle.remove()
    drain(lanes)
    lanes.close()
    bench.alone(saving, "alone")

    assert len(calls) == 2
    assert bench.losses("saving") == pytest.approx(bench.losses("alone"), rel=1e-5)
    assert distance(bench.weights("saving"), bench.weights("alone")) < 1e-4
    assert not lanes._base.is_activation_checkpointing
