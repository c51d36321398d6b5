"""A trial over several GPUs is the trial of one; bodies that mean something on a CPU are in `tests/sweep/sharded`."""

import pytest
import torch
from sharded_trials import describe, members, prepare_sums, read_steps, run

from evals.spec import ModelSpec

PROCESSES = 2


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["lora", "qlora", "full"])
def test_two_gpus_train_what_one_does(tiny_model, tmp_path, kind, dtype) -> None:
    if torch.cuda.device_count() < PROCESSES:
        pytest.skip(f"needs {PROCESSES} CUDA devices, and {torch.cuda.device_count()} are visible")
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype=dtype)
    prepared = prepare_sums(model, tmp_path)
    device = torch.device("cuda:0")
    settings = {"optim": "adamw_torch"}
    alone = run(describe(model, kind, 1, **settings), prepared, tmp_path / "one", device=device)

    together = run(describe(model, kind, PROCESSES, **settings), prepared, tmp_path / "two", device=device)

    assert (together.state, together.failure) == ("COMPLETE", None)
    assert together.device.count == PROCESSES
    assert together.training.initial_sha256 == alone.training.initial_sha256
    near = 1e-4 if dtype == "float32" else 2e-2
    for here, there in zip(read_steps(tmp_path / "one"), read_steps(tmp_path / "two"), strict=True):
        name = "loss" if "loss" in here else "validation_loss"
        assert here[name] == pytest.approx(there[name], rel=near)
    assert members() == []
