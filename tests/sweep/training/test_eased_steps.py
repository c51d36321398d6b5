"""A trial that is trained with less memory takes the steps that its config asks for."""

from pathlib import Path

import pytest
from agreement import deviation
from lanes_bench import Bench, ToyData, Trial, distance, lora

from evals.spec import ModelSpec
from sweep.easing import Easing, eased
from sweep.spec import MethodSpec

RUNGS = [
    Easing(lanes=1, micro_batch_size=4),
    Easing(lanes=1, micro_batch_size=1),
    Easing(lanes=1, micro_batch_size=1, gradient_checkpointing=True),
]
ROWS = 19
"""Neither a multiple of a step's rows nor of a micro-batch's."""


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path) -> Bench:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return Bench(model, tmp_path, ToyData({"train": ROWS, "validation": 5}))


def lowered(asked: MethodSpec, rung: Easing) -> Trial:
    return Trial(eased(asked, rung))


@pytest.mark.parametrize("quantized", [False, True])
def test_the_adapter_of_every_rung_is_that_of_the_config(bench: Bench, *, quantized: bool) -> None:
    asked = lora(quantized=quantized, effective_batch_size=8, per_device_train_batch_size=8, num_train_epochs=1.5)
    first = bench.alone(Trial(asked), "asked")

    for place, rung in enumerate(RUNGS):
        found = bench.alone(lowered(asked, rung), f"rung-{place}")
        assert found.result.optimizer_steps == first.result.optimizer_steps == 5
        assert found.result.initial_sha256 == first.result.initial_sha256
        assert (found.result.tokens, found.intermediate.keys()) == (first.result.tokens, first.intermediate.keys())
        assert found.result.validation_loss == pytest.approx(first.result.validation_loss, rel=1e-5)
        assert deviation(bench.losses(f"rung-{place}"), bench.losses("asked")) < 1e-5
        assert distance(bench.weights(f"rung-{place}"), bench.weights("asked")) < 1e-4


def test_recomputed_activations_draw_the_same_dropout(bench: Bench) -> None:
    asked = lora(peft={"lora_dropout": 0.2}, effective_batch_size=8, per_device_train_batch_size=1)
    bench.alone(Trial(asked), "asked")
    bench.alone(lowered(asked, RUNGS[-1]), "recomputed")

    assert deviation(bench.losses("recomputed"), bench.losses("asked")) < 1e-5
