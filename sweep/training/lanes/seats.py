"""How an adapter comes to a lane and leaves it: made, counted and saved by PEFT, exactly as for a trial alone.

PEFT wraps the base model's layers for that moment and is taken off again, so that the base stays plain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers.modeling_utils import PreTrainedModel

from evals.spec import ModelSpec
from sweep.adapters import ADAPTER, Trainee, attach
from sweep.models import count_parameters, weights_sha256
from sweep.spec import MethodSpec, PeftSpec
from sweep.training.lanes.lane import Start
from sweep.training.lanes.stacks import Adapter, LaneAdapters

PREFIX = "base_model.model."


def make_adapters(
    base: PreTrainedModel, method: MethodSpec, model: ModelSpec, *, seed: int, lane: int
) -> tuple[LaneAdapters, Start]:
    """A lane's adapter as `attach` starts it under the seed. Raises TrialError where it does not fit the model."""
    peft = method.peft or PeftSpec()
    device = next(base.parameters()).device
    with _attached(base, method, model, seed) as trainee:
        size = count_parameters(trainee.model)
        start = Start(weights_sha256(trainee.model), size.trainable, size.total)
        modules = {name: _taken(layer) for name, layer in _layers(trainee.model).items()}
    # A trainer sets the seed anew before its first step.
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return LaneAdapters(lane, modules, peft.lora_dropout, generator), start


@contextmanager
def trained_adapter(
    base: PreTrainedModel, method: MethodSpec, model: ModelSpec, adapters: LaneAdapters, *, seed: int
) -> Iterator[Trainee]:
    """A lane's adapter on the base model as PEFT has it, while the block runs."""
    with _attached(base, method, model, seed) as trainee, torch.no_grad():
        for name, layer in _layers(trainee.model).items():
            layer.lora_A[ADAPTER].weight.copy_(adapters.modules[name].down)
            layer.lora_B[ADAPTER].weight.copy_(adapters.modules[name].up.T)
        yield trainee


@contextmanager
def _attached(base: PreTrainedModel, method: MethodSpec, model: ModelSpec, seed: int) -> Iterator[Trainee]:
    trainee = None
    try:
        trainee = attach(base, method, model, seed=seed, load_original=_nothing_to_load)
        yield trainee
    finally:
        if trainee is not None and isinstance(trainee.model, PeftModel):
            trainee.model.unload()
        for left in ("peft_config", "_hf_peft_config_loaded"):
            base.__dict__.pop(left, None)


def _nothing_to_load() -> NoReturn:
    raise RuntimeError("an adapter of this start is not trained in a lane.")


def _layers(model: torch.nn.Module) -> dict[str, Any]:
    return {
        name.removeprefix(PREFIX): module for name, module in model.named_modules() if isinstance(module, LoraLayer)
    }


def _taken(layer: Any) -> Adapter:  # noqa: ANN401
    down = layer.lora_A[ADAPTER].weight.detach().clone()
    up = layer.lora_B[ADAPTER].weight.detach().T.contiguous()
    return Adapter(torch.nn.Parameter(down), torch.nn.Parameter(up), float(layer.scaling[ADAPTER]))
