"""A study's training settings in TRL's words.

What the study does not set is pinned here rather than left to TRL's defaults, some of which differ from those of
transformers (gradient checkpointing on, bfloat16 on) or change between versions.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers.training_args import OptimizerNames
from trl import SFTConfig

from sweep.errors import MachineError
from sweep.spec import Scalar, TrainingSpec

SAME_NAME = (
    "learning_rate",
    "num_train_epochs",
    "gradient_accumulation_steps",
    "max_length",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "neftune_noise_alpha",
)
"""Settings that TRL and transformers know by the same name and meaning."""

SCHEDULE_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 0.1},
}
"""Arguments that transformers demands of a schedule. Here a number of steps may be a share of all steps."""

SHARDING: Mapping[str, object] = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "reshard_after_forward": True,
}
"""accelerate's FSDP: parameters, gradients and moments in parts, gathered for a decoder layer at a time."""


def sft_config(  # noqa: PLR0913
    training: TrainingSpec,
    *,
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
    output: Path,
    first_loads: bool = False,
) -> SFTConfig:
    """TRL's arguments for one trial over so many rows. Raises MachineError where the optimizer is unknown.

    `first_loads` says that the first of several processes gives the others their parts of the model.
    """
    is_sharded = training.num_processes > 1
    arguments = SFTConfig(
        **{name: getattr(training, name) for name in SAME_NAME},
        output_dir=str(output),
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.micro_batch_size,
        lr_scheduler_kwargs=schedule_arguments(training, training.planned_steps(rows)),
        optim=resolve_optim(training.optim, device, is_sharded=is_sharded),
        # Autocast, for every method alike: adapters and fully trained weights are float32 underneath.
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        # The newer name of what TRL and studies call gradient_checkpointing.
        activation_checkpointing=training.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        # Rows arrive tokenized, labelled and cut to length.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        completion_only_loss=training.completion_only_loss,
        packing=False,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        # Left on, a loss that is not a number is logged as the mean of those before it.
        logging_nan_inf_filter=False,
        report_to="none",
        push_to_hub=False,
        disable_tqdm=True,
        fsdp=is_sharded or None,
        fsdp_config={**SHARDING, "cpu_ram_efficient_loading": first_loads} if is_sharded else None,
    )
    if is_sharded:
        # Weights are gathered and gradients added up as they are kept, and computed with under autocast, as in one
        # process. accelerate's own policy would do both in the compute dtype, and garble packed 4-bit weights.
        arguments.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy()
    return arguments


def resolve_optim(optim: str, device: torch.device, *, is_sharded: bool = False) -> str:
    """The optimizer by transformers' name; `auto` is decided by the device, and by whether weights are in parts."""
    if optim == "auto":
        return "paged_adamw_8bit" if device.type == "cuda" and not is_sharded else "adamw_torch"
    known = [name.value for name in OptimizerNames]
    if optim not in known:
        raise MachineError(f"training.optim: unknown optimizer '{optim}'. Use auto, or one of {', '.join(known)}.")
    return optim


def schedule_arguments(training: TrainingSpec, steps: int) -> dict[str, Scalar]:
    """Arguments of the learning-rate schedule, the demanded ones filled in and shares turned into steps."""
    given = dict(training.lr_scheduler_kwargs)
    defaults = SCHEDULE_DEFAULTS.get(training.lr_scheduler_type, {})
    if not any(name.startswith("min_lr") for name in given):
        given = {**defaults, **given}
    for name, value in given.items():
        if name.endswith("_steps") and isinstance(value, float) and value < 1:
            given[name] = math.ceil(value * steps)
    return given
