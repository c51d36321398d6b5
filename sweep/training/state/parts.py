"""The parts of a training state, taken from live objects and put back into them: weights, optimizer, random states.

An optimizer's settings follow from the config, so only its moments and its rates are kept. Moments go back into the
memory that the optimizer itself would have chosen: paged ones stay paged.
"""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from bitsandbytes.optim.optimizer import Optimizer8bit

from sweep.training.state.file import StateUnusableError, TrainingState

PAGED = ("state1", "state2")
"""Moments that bitsandbytes may keep in paged memory."""


def joined(parts: Mapping[str, TrainingState]) -> TrainingState:
    """Several states as one, each under its name."""
    return TrainingState(
        {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.tensors.items()},
        {part: state.values for part, state in parts.items()},
    )


def part(state: TrainingState, name: str) -> TrainingState:
    """One of the states that were joined. Raises StateUnusableError where it is missing."""
    values = state.values.get(name)
    if not isinstance(values, dict):
        raise StateUnusableError(f"it holds no {name}")
    prefix = f"{name}/"
    return TrainingState(
        {key.removeprefix(prefix): tensor for key, tensor in state.tensors.items() if key.startswith(prefix)}, values
    )


def take_weights(weights: Mapping[str, torch.nn.Parameter]) -> TrainingState:
    """Trained weights by name."""
    return TrainingState({name: weight.detach() for name, weight in weights.items()}, {})


@torch.no_grad()
def put_weights(state: TrainingState, weights: Mapping[str, torch.nn.Parameter]) -> None:
    """Set weights in place. Raises StateUnusableError where they are others, and nothing is changed then."""
    if state.tensors.keys() != weights.keys():
        raise StateUnusableError("its weights have other names")
    for name, weight in weights.items():
        saved = state.tensors[name]
        if saved.shape != weight.shape or saved.dtype != weight.dtype:
            raise StateUnusableError(f"{name} has another shape or dtype")
    for name, weight in weights.items():
        weight.copy_(state.tensors[name])


def take_optimizer(optimizer: torch.optim.Optimizer) -> TrainingState:
    """Moments, counts and rates of an optimizer. Parameters are numbered in its order."""
    if torch.cuda.is_available():
        # Paged moments are read by the CPU, past what the GPU still has to do.
        torch.cuda.synchronize()
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, weight in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}/{key}"] = value
            else:
                plain.setdefault(str(number), {})[key] = value
    return TrainingState(tensors, {"plain": plain, "rates": [group["lr"] for group in optimizer.param_groups]})


def put_optimizer(state: TrainingState, optimizer: torch.optim.Optimizer) -> None:
    """Give a fresh optimizer its moments back. Raises StateUnusableError where they are another optimizer's."""
    moments: dict[int, dict[str, Any]] = {int(number): dict(plain) for number, plain in state.values["plain"].items()}
    for name, tensor in state.tensors.items():
        number, key = name.split("/", 1)
        # What is read from a file is a view of the file.
        moments.setdefault(int(number), {})[key] = tensor.clone()
    weights = list(_parameters(optimizer))
    settings = optimizer.state_dict()["param_groups"]
    rates = state.values["rates"]
    if len(rates) != len(settings) or any(place >= len(weights) for place in moments):
        raise StateUnusableError("its optimizer has other parameters")
    for place, values in moments.items():
        _refuse_misshapen(weights[place], values)
    groups = [{**group, "lr": rate} for group, rate in zip(settings, rates, strict=True)]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    if isinstance(optimizer, Optimizer8bit):
        _page(optimizer)


def _parameters(optimizer: torch.optim.Optimizer) -> Iterable[torch.nn.Parameter]:
    return (weight for group in optimizer.param_groups for weight in group["params"])


def _refuse_misshapen(weight: torch.nn.Parameter, values: Mapping[str, Any]) -> None:
    for key in ("exp_avg", "exp_avg_sq", *PAGED):
        if key in values and values[key].shape != weight.shape:
            raise StateUnusableError("its optimizer has parameters of other shapes")


def _page(optimizer: Any) -> None:  # noqa: ANN401 - bitsandbytes is untyped
    """Loading puts all moments on the device; those that were paged go back into paged memory."""
    if not optimizer.is_paged:
        return
    for weight in _parameters(optimizer):
        values = optimizer.state.get(weight, {})
        if weight.device.type == "cpu":
            continue
        for key in (key for key in PAGED if key in values):
            buffer = optimizer.get_state_buffer(weight, dtype=values[key].dtype)
            # The buffer is being filled with zeros by the device at this moment.
            torch.cuda.synchronize()
            buffer.copy_(values[key])
            values[key] = buffer


def take_random() -> TrainingState:
    """All generators that a training draws from: Python's, numpy's, torch's on the CPU and on every GPU."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - what libraries draw from
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors.update({f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())})
    return TrainingState(tensors, {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest]})


def put_random(state: TrainingState) -> None:
    """Set all generators."""
    version, keys, gauss = state.values["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(state.values["numpy"]))  # noqa: NPY002 - what libraries draw from
    torch.set_rng_state(state.tensors["torch"])
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            if f"cuda{number}" in state.tensors:
                torch.cuda.set_rng_state(state.tensors[f"cuda{number}"], number)
