"""Which trials can be trained in a lane, and which lanes can share a base model. Asking needs no torch.

A lane trains a plain LoRA over a frozen base under AdamW. What changes the base, adds to every layer something that is
not two matrices, or scales losses while it goes on is trained alone, by TRL.
"""

from evals.spec import ModelSpec
from sweep.spec import MethodSpec

OPTIMIZERS = frozenset(
    {"auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"}
)
"""Optimizers that look at one weight at a time, so that a lane's can be stepped by themselves."""
STARTS = frozenset({True, "gaussian", "orthogonal"})
"""Starts of an adapter that leave the base model as it is and need nothing but a seed."""

DECISIVE = frozenset(
    {
        "peft.use_dora",
        "peft.init_lora_weights",
        "training.optim",
        "training.neftune_noise_alpha",
        "training.gradient_checkpointing",
        "training.num_processes",
    }
)
"""Keys of a method that decide where its trials can be trained, beside all of its quantization."""


def is_decisive(key: str) -> bool:
    """Whether a method's key, such as `training.optim`, decides whether and with what its trials share a base model."""
    return key in DECISIVE or key.startswith("quantization.")


def solo_reason(method: MethodSpec, model: ModelSpec, device_type: str) -> str | None:
    """Why a trial has to be trained alone, in a phrase; none where it can sit in a lane."""
    peft, training = method.peft, method.training
    if training.num_processes > 1:
        return f"it is divided among {training.num_processes} processes, each on a device of its own"
    if method.kind == "full" or peft is None:
        return "full fine-tuning changes the base model"
    reasons = {
        "DoRA": peft.use_dora,
        f"init_lora_weights {peft.init_lora_weights}": peft.init_lora_weights not in STARTS,
        "float16 scales its loss": model.dtype == "float16",
        f"optim {training.optim}": training.optim not in OPTIMIZERS,
        "NEFTune's noise on the embeddings": training.neftune_noise_alpha is not None,
        f"a device of kind {device_type}": device_type not in {"cpu", "cuda"},
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def base_key(method: MethodSpec, model: ModelSpec) -> str:
    """The same for trials that can share one resident base model."""
    quantization = None if method.quantization is None else method.quantization.model_dump_json()
    return f"{model.model_dump_json()} {quantization} {method.training.gradient_checkpointing}"
