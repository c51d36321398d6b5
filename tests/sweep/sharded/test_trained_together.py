"""A trial over two processes is the trial of one process: the same rows in each step, losses and weights.

Sums are added up in another order, so they agree within float32's rounding: losses within 1e-5 of themselves, weights
within 1e-4 of the largest one.
"""

import pytest
from sharded_trials import describe, members, prepare_sums, read_steps, read_weights, run

from evals.spec import ModelSpec

LOSS, WEIGHT = 1e-5, 1e-4
LIBRARIES = 700 * 2**20
"""Bytes that a process has which has loaded torch, transformers and trl, and more."""


@pytest.fixture(scope="module")
def model(tiny_model) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")


@pytest.fixture(scope="module")
def prepared(model, tmp_path_factory):
    return prepare_sums(model, tmp_path_factory.mktemp("data"))


def refuse_to_differ(one, other, *, loss=LOSS, weight=WEIGHT) -> None:
    """Two runs' directories: the same steps, losses and weights."""
    for here, there in zip(read_steps(one), read_steps(other), strict=True):
        assert here.keys() == there.keys()
        for name in here.keys() - {"seconds", "epoch"}:
            assert here[name] == pytest.approx(there[name], rel=100 * loss if name == "grad_norm" else loss), name
    mine, theirs = read_weights(one), read_weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype
        assert (tensor - theirs[name]).abs().max() <= weight * theirs[name].abs().max(), name


@pytest.mark.parametrize(
    "kind",
    ["lora", pytest.param("full", marks=pytest.mark.slow), pytest.param("qlora", marks=pytest.mark.slow)],
)
def test_two_processes_train_what_one_does(model, prepared, tmp_path, kind) -> None:
    seen = []
    alone = run(describe(model, kind, 1), prepared, tmp_path / "one")

    together = run(describe(model, kind, 2), prepared, tmp_path / "two", on_progress=seen.append)

    assert (together.state, together.failure) == ("COMPLETE", None)
    refuse_to_differ(tmp_path / "one", tmp_path / "two")
    assert together.training.initial_sha256 == alone.training.initial_sha256
    assert (together.training.tokens, together.training.optimizer_steps) == (
        alone.training.tokens,
        alone.training.optimizer_steps,
    )
    assert together.intermediate == pytest.approx(alone.intermediate, rel=LOSS)
    assert together.evaluation.metrics["own/loss"].value == pytest.approx(
        alone.evaluation.metrics["own/loss"].value, rel=LOSS
    )
    assert {file.name for file in (tmp_path / "two" / "checkpoint").iterdir()} == {
        file.name for file in (tmp_path / "one" / "checkpoint").iterdir()
    }
    # Of both processes, each with libraries of its own; the one that trained alone is this one, with all it has loaded.
    assert together.memory.host_bytes > 2 * LIBRARIES
    assert {progress.phase for progress in seen} == {"load", "train", "validate", "score"}
    assert members() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "qlora", "full"])
def test_in_bfloat16_they_compute_under_autocast_as_one_does(tiny_model, tmp_path, kind) -> None:
    """With checkpointed activations, and several forward passes to a step."""
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="bfloat16")
    prepared = prepare_sums(model, tmp_path)
    settings = {"gradient_checkpointing": True, "per_device_train_batch_size": 2}
    run(describe(model, kind, 1, **settings), prepared, tmp_path / "one")

    together = run(describe(model, kind, 2, **settings), prepared, tmp_path / "two")

    assert (together.state, together.failure) == ("COMPLETE", None)
    # bfloat16 has eight bits of precision, so that the order of sums shows.
    refuse_to_differ(tmp_path / "one", tmp_path / "two", loss=2e-3, weight=5e-2)
