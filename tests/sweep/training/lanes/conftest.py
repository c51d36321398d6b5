"""The bench that trials are trained on, in lanes and alone."""

from pathlib import Path

import pytest
from lanes_bench import Bench, ToyData

from evals.spec import ModelSpec


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path) -> Bench:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return Bench(model, tmp_path, ToyData({"train": 18, "validation": 7}))
