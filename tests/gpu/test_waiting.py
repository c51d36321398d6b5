"""A step of lanes waits for the device once, whatever the number of lanes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from lanes_bench import Bench, ToyData, Trial, lora

from sweep.training.lanes import engine
from sweep.training.lanes.engine import Lanes

READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
"""Ways to a tensor's values for which a host waits."""
LANES = {
    "plain": Trial(lora(num_train_epochs=1.0, optim="adamw_torch"), 3),
    "dropout": Trial(lora(peft={"lora_r": 8, "lora_dropout": 0.2}, num_train_epochs=1.0, optim="adamw_torch"), 4),
    "accumulating": Trial(
        lora(
            peft={"lora_target_modules": ("q_proj", "down_proj")},
            num_train_epochs=1.0,
            optim="adamw_torch",
            per_device_train_batch_size=1,
        ),
        5,
    ),
}
STEPPING = (0, 2, 0, 3)
"""Lanes whose optimizers step in each round: two have windows of two micro-batches, and one of four."""


def warm(bench: Bench, *, quantized: bool) -> Lanes:
    """Lanes after a step of each, between two rungs."""
    trials = {name: Trial(lora_like(trial, quantized=quantized), trial.seed) for name, trial in LANES.items()}
    # So many rows that no epoch ends while reads are counted: their order is drawn on the CPU.
    bench.data = ToyData({"train": 64, "validation": 4})
    lanes = bench.lanes(next(iter(trials.values())).method, width=len(trials))
    for name, trial in trials.items():
        lanes.seat(bench.job(trial, name))
    for _ in range(4):
        assert not lanes.step()
    return lanes


def lora_like(trial: Trial, *, quantized: bool):
    if not quantized:
        return trial.method
    like = lora(quantized=True)
    return trial.method.model_copy(update={"kind": "qlora", "load_in_4bit": True, "quantization": like.quantization})


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Reads of values while the block runs, by name."""
    seen: list[str] = []

    def counting(name: str):
        read = getattr(torch.Tensor, name)

        def counts(tensor: torch.Tensor, *given: object, **named: object):
            seen.append(name)
            return read(tensor, *given, **named)

        return counts

    with monkeypatch.context() as patched:
        for name in READS:
            patched.setattr(torch.Tensor, name, counting(name))
        yield seen


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_values_are_read_once_in_a_step(benches, device, quantized, monkeypatch) -> None:
    lanes = warm(benches(device), quantized=quantized)

    with counted(monkeypatch) as reads:
        for _ in STEPPING:
            lanes.step()

    lanes.close()
    assert reads == ["tolist"] * len(STEPPING)


@pytest.mark.gpu
@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_nothing_else_in_a_step_waits_for_the_device(benches, cuda, quantized, monkeypatch) -> None:
    lanes = warm(benches(cuda), quantized=quantized)
    fetch, fetches = engine.fetched, []

    def allowed(values: torch.Tensor) -> list[float]:
        torch.cuda.set_sync_debug_mode("default")
        fetches.append(values.shape)
        found = fetch(values)
        torch.cuda.set_sync_debug_mode("error")
        return found

    monkeypatch.setattr(engine, "fetched", allowed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        ends = [end for _ in STEPPING for end in lanes.step()]
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert [end.error for end in ends] == []
    assert fetches == [(len(LANES) + steps,) for steps in STEPPING], "a loss of each, and norms of those that step"
    lanes.close()
