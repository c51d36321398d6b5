"""Which methods can be trained and then scored as trained. Needs no torch, so a study file is checked with it too.

Some ways to start an adapter change the base weights. Their adapter fits the changed base only, while scoring loads the
user's own base model. On a 16-bit base the saved adapter can be rewritten to fit it; on a 4-bit base it cannot,
because the change passed through a second rounding.
"""

from evals.errors import ModelError
from evals.spec import QuantizationSpec
from sweep.spec import MethodSpec, PeftSpec

SHARDED_OPTIMIZERS = frozenset({"auto", "adamw_torch", "adamw_torch_fused"})
"""Optimizers that step weights which several processes hold in parts; `auto` is then AdamW."""
STARTS_THAT_CHANGE_THE_BASE = frozenset({"pissa", "olora"})


def is_four_bit(method: MethodSpec) -> bool:
    """Whether the frozen base is held in 4 bits."""
    return method.kind == "qlora" or method.load_in_4bit


def quantization_of(method: MethodSpec) -> QuantizationSpec | None:
    """How the base is quantized, both for training and for scoring what was trained."""
    if not is_four_bit(method):
        return None
    return method.quantization or QuantizationSpec()


def complaints(method: MethodSpec) -> tuple[str, ...]:
    """Why this method cannot be done right, one sentence for each reason; empty where it can."""
    if method.kind == "full":
        found = {
            "full fine-tuning trains every weight and has no adapter. Remove peft.": method.peft is not None,
            "4-bit weights cannot be trained. Remove load_in_4bit, or use kind qlora.": method.load_in_4bit,
        }
    else:
        found = _adapter_complaints(method.peft or PeftSpec(), four_bit=is_four_bit(method))
    return tuple(sentence for sentence, holds in found.items() if holds)


def refuse_impossible(name: str, method: MethodSpec) -> None:
    """Raise ModelError with the first reason why this method cannot be done right."""
    for complaint in (*complaints(method), *sharding_complaints(method)):
        raise ModelError(f"methods.{name}: {complaint}")


def starts_without_weights(method: MethodSpec) -> bool:
    """Whether what is trained can be made ready without reading the base model's weights."""
    starts_anywhere = method.peft is None or method.peft.init_lora_weights in {True, "gaussian", "orthogonal"}
    return not is_four_bit(method) and starts_anywhere


def sharding_complaints(method: MethodSpec) -> tuple[str, ...]:
    """Why this method cannot be divided among its processes; empty where it can, or has one."""
    training = method.training
    processes, rows = training.num_processes, training.effective_batch_size
    found = {
        f"effective_batch_size {rows} is no multiple of num_processes {processes}; every process takes as many rows of "
        "an optimizer step.": rows % processes != 0,
        f"optim '{training.optim}' cannot step weights that are divided among {processes} processes; "
        f"allowed: {', '.join(sorted(SHARDED_OPTIMIZERS))}.": training.optim not in SHARDED_OPTIMIZERS,
    }
    return tuple(sentence for sentence, holds in found.items() if holds and processes > 1)


def _adapter_complaints(peft: PeftSpec, *, four_bit: bool) -> dict[str, bool]:
    start = peft.init_lora_weights
    return {
        "init_lora_weights 'loftq' makes up for 4-bit rounding, and this base is not in 4 bits. "
        "Use kind qlora, or another init_lora_weights.": start == "loftq" and not four_bit,
        f"init_lora_weights '{start}' moves a part of the base into the adapter before rounding, so that the saved "
        "adapter would not fit the 4-bit base. Use kind lora, or 'loftq'.": four_bit
        and start in STARTS_THAT_CHANGE_THE_BASE,
        "init_lora_weights 'orthogonal' takes its dtype from the base weights, which are packed integers in 4 bits. "
        "Use kind lora, or another init_lora_weights.": four_bit and start == "orthogonal",
        f"init_lora_weights 'orthogonal' needs an even lora_r, and {peft.lora_r} is odd.": start == "orthogonal"
        and peft.lora_r % 2 == 1,
    }
