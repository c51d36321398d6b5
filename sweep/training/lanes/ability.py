"""Which trials can be trained in a lane, and which lanes can share a base model. Asking needs no torch.

A lane trains a plain LoRA over a frozen base under AdamW. What changes the base, adds to every layer something that is
not two matrices, or scales losses while it goes on is trained alone, by TRL.
"""

from evals.spec import ModelSpec
from sweep.spec import MethodSpec

OPTIMIZERS = frozenset({"auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"})
"""Optimizers that look at one weight at a time, so that a lane's can be stepped by themselves."""
STARTS = frozenset({True, "gaussian", "orthogonal"})
"""Starts of an adapter that leave the base model as it is and need nothing but a seed."""


def solo_reason(method: MethodSpec, model: ModelSpec, device_type: str) -> str | None:
    """Why a trial has to be trained alone, in a phrase; none where it can sit in a lane."""
    peft, training = method.peft, method.training
    if method.kind == "full" or peft is None:
        return "full fine-tuning changes the base model"
    if peft.use_dora:
        return "DoRA"
    if peft.init_lora_weights not in STARTS:
        return f"init_lora_weights {peft.init_lora_weights}"
    if model.dtype == "float16":
        return "float16 scales its loss"
    if training.optim not in OPTIMIZERS:
        return f"optim {training.optim}"
    if training.neftune_noise_alpha is not None:
        return "NEFTune's noise on the embeddings"
    if device_type not in {"cpu", "cuda"}:
        return f"a device of kind {device_type}"
    return None


def base_key(method: MethodSpec, model: ModelSpec) -> str:
    """The same for trials that can share one resident base model."""
    quantization = None if method.quantization is None else method.quantization.model_dump_json()
    return f"{model.model_dump_json()} {quantization} {method.training.gradient_checkpointing}"
