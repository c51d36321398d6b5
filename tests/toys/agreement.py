"""How far two ways to the same numbers are apart, on any device: bodies of tests, and rows of a benchmark.

In float32 sums are taken in another order, and no more: `NEAR` says how far that goes. In bfloat16 two batch shapes of
the same trainer differ, and a lane may differ as much, give or take (`SLACK`): both are one draw of many.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_4bit
from datasets import disable_progress_bars, enable_progress_bars
from lanes_bench import Bench, Trial, distance
from peft import get_peft_model_state_dict
from plain_trl import losses_of, plain_config, plain_trainer

from evals.models.load import load_tokenizer
from sweep.adapters import attach
from sweep.models import release_memory, trainable_weights
from sweep.spec import MethodSpec


@dataclass(frozen=True)
class Apart:
    """Two trainings of the same trial."""

    losses: float
    """Largest relative difference of a step's loss."""
    weights: float | None
    """Of the trained adapters, relative to their size; none for full fine-tuning."""


NEAR = {"cpu": Apart(1e-5, 1e-4), "cuda": Apart(1e-4, 1e-3)}
"""Most that two ways may be apart in float32, by kind of device: a GPU's kernels change with the shape of a batch."""
SLACK = 2.0
"""In bfloat16, times what two batch shapes of TRL are apart."""
ROUNDED = 1e-4
"""Losses that are nearer are the same in bfloat16, which has 8 bits: two shapes may agree by luck."""


def deviation(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the losses of two runs, in their worst step. Raises ValueError where one has more steps."""
    return max(abs(mine - theirs) / abs(theirs) for mine, theirs in zip(one, other, strict=True))


def reshaped(trial: Trial) -> Trial:
    """The same steps in micro-batches of another size."""
    training = trial.method.training.model_copy(update={"per_device_train_batch_size": 1})
    return Trial(trial.method.model_copy(update={"training": training}), trial.seed)


def apart(bench: Bench, one: str, other: str) -> Apart:
    """Two runs of a bench, by name."""
    return Apart(deviation(bench.losses(one), bench.losses(other)), distance(bench.weights(one), bench.weights(other)))


def lanes_beside_alone(bench: Bench, trials: Mapping[str, Trial], width: int | None = None) -> dict[str, Apart]:
    """Trials in lanes together, each against itself alone. Raises what ended a lane."""
    for name, end in bench.together(dict(trials), width).items():
        if end.outcome is None:
            raise RuntimeError(f"lane {name} ended with an error") from end.error
    found = {}
    for name, trial in trials.items():
        bench.alone(trial, f"{name}-alone")
        release_memory()
        found[name] = apart(bench, name, f"{name}-alone")
    return found


def alone_beside_plain(bench: Bench, trial: Trial, name: str) -> Apart:
    """A trial alone against TRL's own trainer."""
    bench.alone(trial, name)
    release_memory()
    dtype = getattr(torch, bench.model.dtype)
    arguments = plain_config(trial.method, dtype=dtype, seed=trial.seed, output=bench.path / f"{name}-plain")
    with without_bars():
        trainer = plain_trainer(
            bench.base(trial.method), bench.data.dataset("train"), load_tokenizer(bench.model, cache=bench.path),
            trial.method, arguments,
        )  # fmt: skip
        trainer.train()
    losses = deviation(bench.losses(name), losses_of(trainer))
    if trial.method.kind == "full":
        return Apart(losses, None)
    weights = {key: value.cpu() for key, value in get_peft_model_state_dict(trainer.model).items()}
    return Apart(losses, distance(bench.weights(name), weights))


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep `datasets` from drawing."""
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def gradients_over_four_bits(bench: Bench, four_bit: MethodSpec, plain: MethodSpec) -> float:
    """Distance of QLoRA's gradients from those of the same adapter over the dequantized weights."""
    rows = torch.arange(3, 35, device=bench.device).reshape(2, 16)
    packed, unpacked = bench.base(four_bit), bench.base(plain)
    for name, layer in unpacked.named_modules():
        weight = getattr(packed.get_submodule(name), "weight", None)
        if getattr(weight, "quant_state", None) is not None:
            layer.weight.data = dequantize_4bit(weight.data, weight.quant_state).to(layer.weight.dtype)
    found = []
    for base, method in ((packed, four_bit), (unpacked, plain)):
        model = attach(base, method, bench.model, seed=3, load_original=lambda: None).model.train()
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=bench.model.dtype == "bfloat16"):
            model(input_ids=rows, labels=rows).loss.backward()
        found.append({name: weight.grad.float().cpu() for name, weight in trainable_weights(model).items()})
    return distance(*found)


def steps_of(bench: Bench, trial: Trial, name: str) -> list[float]:
    """Losses of a trial alone."""
    bench.alone(trial, name)
    release_memory()
    return bench.losses(name)


def with_attention(bench: Bench, implementation: str, path: Path) -> Bench:
    """The same bench with another attention back end."""
    model = bench.model.model_copy(update={"attn_implementation": implementation})
    return Bench(model, path, bench.data, bench.device)
