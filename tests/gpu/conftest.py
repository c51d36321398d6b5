"""What runs on a GPU, with bodies that run on a CPU too wherever they mean something there.

`pytest -m gpu` runs them on the first CUDA device, and skips where there is none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch
    from lanes_bench import Bench


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> "torch.device":
    """Each device once."""
    return _device(request.param)


@pytest.fixture
def cuda() -> "torch.device":
    """The GPU, for what means nothing elsewhere; its tests are marked `gpu`."""
    return _device("cuda")


def _device(kind: str) -> "torch.device":
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and none is visible")
    return torch.device("cuda:0" if kind == "cuda" else "cpu")


@pytest.fixture
def benches(tiny_model: Path, tmp_path: Path) -> "Callable[..., Bench]":
    """Benches of the tiny model on a device."""
    from lanes_bench import Bench, ToyData

    from evals.spec import ModelSpec

    def build(device: "torch.device", dtype: str = "float32") -> Bench:
        model = ModelSpec(model_name_or_path=str(tiny_model), dtype=dtype)
        return Bench(model, tmp_path, ToyData({"train": 12, "validation": 4}), device)

    return build
