"""The base model as training needs it, and what is known about its weights.

Every method computes in the model's dtype, under autocast. What differs is what its weights are kept in:
- adapters (lora, qlora): the frozen base in the model's dtype or 4 bits, the adapter in float32;
- full fine-tuning: all weights in float32, cast to the model's dtype as they are used and when they are saved.
A bfloat16 weight has 8 bits of precision, so an AdamW update of 2e-5 on a weight of 0.05 rounds to nothing: full
fine-tuning in pure bfloat16 would lose to adapters by arithmetic alone. It costs 4 bytes a parameter for the weights
and 4 for the gradients instead of 2 and 2.

The cast at the end still rounds, so a short run at a small rate scores worse than its last validation loss said. What
is scored is what would be deployed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from bitsandbytes.nn import Params4bit
from bitsandbytes.optim import GlobalOptimManager
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from evals.models.load import keep_unpacked, load_model
from evals.models.memory import give_back
from evals.spec import ModelSpec
from sweep.errors import MachineError
from sweep.method_rules import quantization_of
from sweep.spec import MethodSpec


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Sizes of a model, 4-bit weights counted unpacked."""

    trainable: int
    """Parameters that training changes."""
    total: int
    """All parameters, the adapter included."""


def load_for_training(model: ModelSpec, method: MethodSpec, *, cache: Path, device: torch.device) -> PreTrainedModel:
    """Load a fresh base model. Raises ModelError where it cannot be loaded, MachineError where it cannot be trained."""
    _refuse_dtype(model, device)
    kept = model.model_copy(update={"dtype": "float32"}) if method.kind == "full" else model
    # What several processes hold in parts has to be a floating-point tensor, whatever its bytes mean.
    storage = model.dtype if method.training.num_processes > 1 else None
    loaded = load_model(kept, cache=cache, device=device, quantization=quantization_of(method), quant_storage=storage)
    _make_room(loaded)
    # Validation passes run in eval mode, and would repack the weights in the middle of training.
    keep_unpacked(loaded)
    return loaded


def _make_room(model: PreTrainedModel) -> None:
    """Give memory to weights that another process has read; it holds nothing, and is not touched before it is filled.

    accelerate tells weights apart by where they lie, which those without memory do not.
    """
    empty = [name for name, weight in model.named_parameters() if weight.is_meta]
    for name in empty:
        module, _, own = name.rpartition(".")
        weight = model.get_parameter(name)
        room = torch.empty_like(weight, device="cpu")
        setattr(model.get_submodule(module), own, torch.nn.Parameter(room, requires_grad=weight.requires_grad))
    if empty:
        model.tie_weights()


@contextmanager
def without_loading_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each model that is read or written."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def count_parameters(model: torch.nn.Module) -> ParameterCount:
    """Count a model's parameters; a tied weight counts once."""
    sizes = [(parameter.requires_grad, _unpacked_size(parameter)) for parameter in model.parameters()]
    return ParameterCount(
        trainable=sum(size for trainable, size in sizes if trainable), total=sum(size for _, size in sizes)
    )


def trainable_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The weights that training changes, by name, in order of their names."""
    return dict(sorted((name, weight) for name, weight in model.named_parameters() if weight.requires_grad))


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 of the trainable weights: names, dtypes and bytes."""
    return sha256_of(trainable_weights(model))


def sha256_of(weights: Mapping[str, torch.Tensor]) -> str:
    """The same of weights by name, in order of their names."""
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_are_finite(model: torch.nn.Module) -> bool:
    """Whether every trainable weight is a number."""
    return are_finite(trainable_weights(model))


def are_finite(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def nondeterminism(device: torch.device) -> str | None:
    """Why training twice on this device need not give the same weights bit by bit; none where it does."""
    if device.type == "cpu" or torch.are_deterministic_algorithms_enabled():
        return None
    return "the GPU adds up gradients in no fixed order, which rounds otherwise each time"


def release_memory() -> None:
    """Give back what a trial held, once nothing names its model any more."""
    # transformers registers the embeddings with bitsandbytes' 8-bit optimizers and never takes them off again.
    GlobalOptimManager.get_instance().initialize()
    give_back()


def _unpacked_size(parameter: torch.nn.Parameter) -> int:
    if isinstance(parameter, Params4bit) and parameter.quant_state is not None:
        return int(parameter.quant_state.shape.numel())
    return parameter.numel()


def _refuse_dtype(model: ModelSpec, device: torch.device) -> None:
    if device.type == "cpu" and model.dtype == "float16":
        raise MachineError("model.dtype: float16 cannot be trained on a CPU. Use bfloat16 or float32.")
    if device.type == "cuda" and model.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise MachineError("model.dtype: this GPU has no bfloat16. Use float16 or float32.")
