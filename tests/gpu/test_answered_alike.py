"""Scoring gives stock lm-evaluation-harness's answers, and several adapters at once each their own, on every device."""

from pathlib import Path

import pytest
import torch
from scored_alike import Alike, beside_stock, random_adapters, together_beside_alone

from evals.spec import ModelSpec

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
NEAR = {"float32": 1e-3, "bfloat16": 0.25}
"""Nats; bfloat16 cannot tell tokens apart that are nearer."""


def spec_of(tiny_model: Path, dtype: str) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype=dtype)


def assert_alike(found: Alike, dtype: str) -> None:
    assert found.items
    assert found.deviation < NEAR[dtype]
    # In bfloat16 a random model ties often, and a text goes on from each tie as it likes.
    assert dtype == "bfloat16" or not found.texts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_are_those_of_the_stock_tool(tiny_model, tmp_path, device, dtype) -> None:
    assert_alike(beside_stock(spec_of(tiny_model, dtype), tmp_path, device), dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_answer_together_what_each_answers_alone(tiny_model, tmp_path, device, dtype) -> None:
    spec = spec_of(tiny_model, dtype)
    adapters = random_adapters(spec, tmp_path, torch.device("cpu"))

    assert_alike(together_beside_alone(spec, adapters, tmp_path, device), dtype)
