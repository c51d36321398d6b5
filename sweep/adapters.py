"""The table of methods: what is made trainable, how it starts, and how it is saved.

What a method saves must fit the base model that scoring loads, 4-bit where the method's was:
- LoftQ (arXiv 2310.08659) is done with one iteration, which leaves the 4-bit base as it is and starts the adapter at
  the best low-rank approximation of the rounding error. Unlike PEFT's own, it takes the adapter's scale into account.
- PiSSA and OLoRA move a part of the base into the adapter. The saved adapter holds the difference to its start, at
  twice the rank, and fits the base that the user has.

Adapters are float32 over any base, for LoRA and QLoRA alike, and compute under autocast.
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from bitsandbytes.functional import dequantize_4bit
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PretrainedConfig, set_seed
from transformers.modeling_utils import PreTrainedModel

from evals.models.load import load_model
from evals.spec import ModelSpec
from sweep.errors import TrialError
from sweep.method_rules import STARTS_THAT_CHANGE_THE_BASE, refuse_impossible
from sweep.models import load_for_training, trainable_weights
from sweep.spec import MethodKind, MethodSpec, PeftSpec

ADAPTER = "default"
DECOMPOSING_STARTS = STARTS_THAT_CHANGE_THE_BASE | {"loftq"}


Weights = Mapping[str, torch.Tensor]
"""Trained weights by name."""


class Save(Protocol):
    """Writes what was trained into a directory, so that it fits the base model that scoring loads."""

    def __call__(self, directory: Path, *, weights: Weights | None = None) -> None:
        """Write. `weights` are the trained ones where the model itself holds only a part of them."""


@dataclass(frozen=True, slots=True)
class Trainee:
    """A model that is ready to be trained."""

    model: torch.nn.Module
    """The base model with its trainable weights, computing in `dtype` under autocast."""
    save: Save
    """Writes it."""
    dtype: torch.dtype
    """Compute dtype, the same for all methods of a study."""


LoadOriginal = Callable[[], PreTrainedModel]
"""Loads the base model unquantized, on the CPU."""


def attach(
    base: PreTrainedModel, method: MethodSpec, spec: ModelSpec, *, seed: int, load_original: LoadOriginal
) -> Trainee:
    """Make the method's weights trainable, the same for the same seed.

    Raises ModelError where the method cannot be done right, TrialError (infeasible) where it does not fit this model.
    """
    refuse_impossible(method.kind, method)
    set_seed(seed)
    return METHODS[method.kind](base, method, spec, load_original)


def load_trainee(model: ModelSpec, method: MethodSpec, *, seed: int, cache: Path, device: torch.device) -> Trainee:
    """Load a fresh base model and make the method's weights trainable. Raises as loading and `attach` do."""
    base = load_for_training(model, method, cache=cache, device=device)
    load_original = partial(load_model, model, cache=cache, device=torch.device("cpu"))
    return attach(base, method, model, seed=seed, load_original=load_original)


def _attach_adapter(base: PreTrainedModel, method: MethodSpec, spec: ModelSpec, load_original: LoadOriginal) -> Trainee:
    peft = method.peft or PeftSpec()
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 reads this attribute by the name that transformers 5.23 renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            warnings.filterwarnings("error", message=".*tied layer is part of the adapter", category=UserWarning)
            model = get_peft_model(base, lora_config(peft))
    except UserWarning as warning:
        raise TrialError(
            "infeasible",
            "lora_target_modules names the embeddings or the output layer, which share their weights here. "
            "Take them out.",
        ) from warning
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrialError("infeasible", f"This adapter does not fit the model: {_first_line(error)}") from error
    _refuse_misfit(model, peft)
    if peft.init_lora_weights == "loftq":
        start_from_rounding_error(model, load_original())
    start = None
    if peft.init_lora_weights in STARTS_THAT_CHANGE_THE_BASE:
        start = {name: weight.detach().cpu().clone() for name, weight in trainable_weights(model).items()}

    def save(directory: Path, *, weights: Weights | None = None) -> None:
        _save_adapter(model, directory, spec, start, weights)

    return Trainee(model, save, getattr(torch, spec.dtype))


def _attach_nothing(base: PreTrainedModel, _: MethodSpec, spec: ModelSpec, __: LoadOriginal) -> Trainee:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    # Trainers rewrite special tokens and cache settings; a tuned model must generate under the base's own.
    settings = copy.deepcopy((base.config, base.generation_config))
    # Dividing a model among processes gives it another class.
    kind = type(base)
    base.requires_grad_(requires_grad=True)

    def save(directory: Path, *, weights: Weights | None = None) -> None:
        whole = base if weights is None else _filled(kind, settings[0], weights)
        whole.config, whole.generation_config = settings
        whole.to(dtype).save_pretrained(directory)

    return Trainee(base, save, dtype)


def _filled(kind: type[PreTrainedModel], config: PretrainedConfig, weights: Weights) -> PreTrainedModel:
    """A model that holds the weights, and nothing but them."""
    with torch.device("meta"):
        whole: PreTrainedModel = kind(copy.deepcopy(config))
    whole.load_state_dict(weights, strict=False, assign=True)
    whole.tie_weights()
    return whole


Method = Callable[[PreTrainedModel, MethodSpec, ModelSpec, LoadOriginal], Trainee]
METHODS: dict[MethodKind, Method] = {"lora": _attach_adapter, "qlora": _attach_adapter, "full": _attach_nothing}


def lora_config(peft: PeftSpec) -> LoraConfig:
    """PEFT's own description of an adapter."""
    targets = peft.lora_target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=peft.lora_r,
        # Other tools read the saved alpha as an integer where it is one.
        lora_alpha=int(peft.lora_alpha) if peft.lora_alpha.is_integer() else peft.lora_alpha,
        lora_dropout=peft.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=peft.use_rslora,
        use_dora=peft.use_dora,
        init_lora_weights=True if peft.init_lora_weights == "loftq" else peft.init_lora_weights,
    )


@torch.no_grad()
def start_from_rounding_error(model: PeftModel, original: PreTrainedModel) -> None:
    """Start each 4-bit layer's adapter at the best approximation of what rounding took from its weights."""
    for name, layer in _adapted_layers(model).items():
        rounded = layer.get_base_layer().weight
        exact = original.get_submodule(name.removeprefix("base_model.model.")).weight
        error = exact.to(rounded.device, torch.float32) - dequantize_4bit(rounded.data, rounded.quant_state).float()
        down, up = low_rank(error / layer.scaling[ADAPTER], layer.r[ADAPTER])
        layer.lora_A[ADAPTER].weight.copy_(down)
        layer.lora_B[ADAPTER].weight.copy_(up)
        if layer.use_dora[ADAPTER]:
            _restart_magnitude(layer)


def low_rank(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank x in) and B (out x rank) whose product B @ A is nearest to the matrix.

    Through the eigenvectors of the smaller Gram matrix: as exact as a singular value decomposition for the leading
    ones, and many times faster for the shapes of linear layers.
    """
    if matrix.shape[0] > matrix.shape[1]:
        down, up = low_rank(matrix.T, rank)
        return up.T.contiguous(), down.T.contiguous()
    _, vectors = torch.linalg.eigh(matrix @ matrix.T)
    basis = vectors[:, -rank:]
    rest = basis.T @ matrix
    # The two factors get equal norms, direction by direction, so that one learning rate suits both.
    balance = rest.norm(dim=1).clamp_min(torch.finfo(matrix.dtype).tiny).sqrt()
    return rest / balance[:, None], basis * balance


def _restart_magnitude(layer: LoraLayer) -> None:
    layer.lora_magnitude_vector[ADAPTER].update_layer(
        base_layer=layer.get_base_layer(),
        lora_A=layer.lora_A[ADAPTER].weight,
        lora_B=layer.lora_B[ADAPTER].weight,
        scaling=layer.scaling[ADAPTER],
    )


def _refuse_misfit(model: PeftModel, peft: PeftSpec) -> None:
    if isinstance(model.get_output_embeddings(), LoraLayer):
        # TRL multiplies by the output layer's weights directly and would never train an adapter there.
        raise TrialError("infeasible", "The output layer cannot be adapted. Take it out of lora_target_modules.")
    if peft.init_lora_weights not in DECOMPOSING_STARTS:
        return
    for name, layer in _adapted_layers(model).items():
        smaller = min(layer.in_features, layer.out_features)
        if peft.lora_r > smaller:
            raise TrialError(
                "infeasible",
                f"init_lora_weights '{peft.init_lora_weights}' with lora_r {peft.lora_r}: {name} has rank {smaller}.",
            )


def _adapted_layers(model: PeftModel) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _save_adapter(
    model: PeftModel,
    directory: Path,
    spec: ModelSpec,
    start: Weights | None,
    trained_weights: Weights | None,
) -> None:
    trained = model.peft_config[ADAPTER]
    saved = copy.deepcopy(trained)
    saved.base_model_name_or_path, saved.revision = spec.model_name_or_path, spec.revision
    # PEFT keeps names as a set, and would save them in another order each time.
    saved.target_modules = sorted(trained.target_modules)
    weights = None if trained_weights is None else dict(trained_weights)
    if start is not None:
        weights = _difference(trainable_weights(model) if weights is None else weights, start)
        saved.init_lora_weights = True
        saved.r = 2 * trained.r
        saved.lora_alpha = trained.lora_alpha * (math.sqrt(2) if trained.use_rslora else 2)
    model.peft_config[ADAPTER] = saved
    try:
        # 'auto' would ask the Hub whether the base model's vocabulary changed; it never does here.
        model.save_pretrained(str(directory), state_dict=weights, save_embedding_layers=False)
    finally:
        model.peft_config[ADAPTER] = trained
    # PEFT's model card is a form to fill in, and names the path that the base was loaded from.
    (directory / "README.md").unlink(missing_ok=True)


def _difference(trained: Mapping[str, torch.Tensor], start: Weights) -> dict[str, torch.Tensor]:
    """B'A' - BA as one adapter of twice the rank; what is not a factor, such as DoRA's magnitudes, stays."""
    stacked = {}
    for name, weight in trained.items():
        now, then = weight.detach().cpu(), start[name]
        if ".lora_A." in name:
            now = torch.cat([now, then], dim=0)
        elif ".lora_B." in name:
            now = torch.cat([now, -then], dim=1)
        stacked[name] = now
    return stacked


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
