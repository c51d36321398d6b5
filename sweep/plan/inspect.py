"""Find out how a model is built from its configuration alone: no weight is loaded, none need be there.

The model is made on torch's `meta` device, which knows shapes and holds no numbers. This is the part of planning that
needs torch and transformers; what it gives is plain numbers.
"""

import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from evals.errors import ModelError
from evals.models.source import find_source
from evals.models.trust import MAX_CONFIG_BYTES, code_settings, refuse_endless_model
from evals.outside import parse_json, read_outside
from evals.spec import ModelSpec
from sweep.plan.activations import ATTENTION_IN, ATTENTION_OUT, FEED_FORWARD_IN, FEED_FORWARD_OUT
from sweep.plan.devices import cpu
from sweep.shape import Device, Linear, ModelShape

KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Architectures whose layers are checked byte for byte: two norms, gated feed-forward part, full attention."""
OUTPUTS = frozenset({"o_proj", "out_proj", "c_proj", "dense", "wo", "down_proj", "fc2", "w2", "dense_4h_to_h"})
"""Names of linears that end a part of a layer."""
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
FILE_INSTEAD = "Where the model is not at hand, its config.json is enough: give it with --model-config FILE."
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StrictDataclassError)
"""What transformers raises where a configuration is none, lacks something, or has a value that no model can have."""


def inspect_model(model: ModelSpec, *, cache: Path, config_file: Path | None = None) -> ModelShape:
    """How the study's model is built. `config_file` is a config.json to read instead of the model's own.

    Raises ModelError where there is no configuration, none that transformers knows, or one of layers without attention.
    """
    try:
        code = code_settings(model)
        config = _config_of(config_file) if config_file is not None else _config(model, cache)
        has_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
        # From a configuration there are no weights to keep: only their shapes.
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(config, **(code if has_code else {"trust_remote_code": False}))
        return shape_of(built)
    except ModelError as error:
        raise ModelError(f"{error} {FILE_INSTEAD}") from error
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{model.model_name_or_path}: its configuration cannot be read here: {reason}. {FILE_INSTEAD}"
        ) from error


def inspect_if_known(model: ModelSpec, *, cache: Path) -> ModelShape | None:
    """The same, or none where the model cannot be made out: a study runs without it."""
    try:
        return inspect_model(model, cache=cache)
    except Exception:  # noqa: BLE001 - code of a model's own may raise anything, and only an estimate is lost
        return None


def device_of(device: torch.device) -> Device:
    """The device that this process trains on."""
    if device.type != "cuda":
        return cpu()
    free, total = torch.cuda.mem_get_info(device)
    return Device(torch.cuda.get_device_name(device), "cuda", total, free)


def shape_of(model: PreTrainedModel) -> ModelShape:
    """The shape of a model that is built, wherever its weights are."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    names = [name for name, _ in model.named_modules()]
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_tied = head is None or head.weight is embeddings.weight
    return ModelShape(
        architecture=str(config.model_type),
        hidden=int(config.hidden_size),
        vocabulary=int(embeddings.weight.shape[0]),
        layers=int(config.num_hidden_layers),
        heads=heads,
        key_value_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_width=width,
        norms=sum(bool(re.search(r"layers\.0\.\w*norm\w*$", name)) for name in names),
        head_norms=any(name.endswith(("q_norm", "k_norm")) for name in names),
        linears=_linears(model, head),
        embedding_parameters=embeddings.weight.numel(),
        head_parameters=0 if is_tied else head.weight.numel(),
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        context=int(getattr(config, "max_position_embeddings", 0) or 0),
        is_known=config.model_type in KNOWN and _has_full_attention(config),
    )


def _config(model: ModelSpec, cache: Path) -> PretrainedConfig:
    source = find_source(model, cache=cache)
    settings, _ = PretrainedConfig.get_config_dict(source.name_or_path, revision=source.revision)
    refuse_endless_model(model.model_name_or_path, settings)
    return AutoConfig.from_pretrained(source.name_or_path, revision=source.revision, **code_settings(model))


def _config_of(file: Path) -> PretrainedConfig:
    fields = parse_json(read_outside(file, MAX_CONFIG_BYTES))
    if not isinstance(fields, dict) or "model_type" not in fields:
        raise ValueError(f"{file} has no model_type")
    refuse_endless_model(str(file), fields)
    return AutoConfig.for_model(**fields)


def _linears(model: PreTrainedModel, head: torch.nn.Module | None) -> tuple[Linear, ...]:
    """Linears of both classes that PEFT adapts and bitsandbytes quantizes; GPT-2's are the second."""
    found = []
    for name, module in model.named_modules():
        if module is head:
            continue
        if isinstance(module, torch.nn.Linear):
            found.append(Linear(name, module.in_features, module.out_features, _layer_of(name), _reads(name)))
        elif isinstance(module, Conv1D):
            found.append(Linear(name, module.nx, module.nf, _layer_of(name), _reads(name)))
    return tuple(found)


def _layer_of(name: str) -> int | None:
    match = LAYER.search(name)
    return int(match.group(1)) if match else None


def _reads(name: str) -> str:
    parent, _, leaf = name.rpartition(".")
    is_attention = "attn" in parent or "attention" in parent
    if leaf in OUTPUTS:
        return ATTENTION_OUT if is_attention else FEED_FORWARD_OUT
    return ATTENTION_IN if is_attention else FEED_FORWARD_IN


def _has_full_attention(config: PretrainedConfig) -> bool:
    kinds = getattr(config, "layer_types", None)
    return not kinds or set(kinds) == {"full_attention"}
