"""TRL's own SFTTrainer as a user would write it: what lanes, and our way to train a trial alone, are held against.

What is set is what has to be equal on all sides, and that no activations are recomputed: that is TRL's default, and
costs it time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from sweep.adapters import lora_config
from sweep.spec import MethodSpec


def plain_config(method: MethodSpec, *, dtype: torch.dtype, seed: int, output: Path, **changes: Any) -> SFTConfig:
    """A method's settings in TRL's words, without anything of ours in between."""
    training = method.training
    settings = {
        "output_dir": str(output),
        "learning_rate": training.learning_rate,
        "num_train_epochs": training.num_train_epochs,
        "per_device_train_batch_size": training.micro_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "max_length": training.max_length,
        "max_steps": training.max_steps or -1,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "activation_checkpointing": training.gradient_checkpointing,
        "bf16": dtype == torch.bfloat16,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "completion_only_loss": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
    }
    if training.optim != "auto":
        settings["optim"] = training.optim
    return SFTConfig(**{**settings, **changes})


def plain_trainer(
    base: torch.nn.Module,
    rows: Dataset,
    tokenizer: Any,
    method: MethodSpec,
    arguments: SFTConfig,
    *,
    callbacks: Sequence[TrainerCallback] = (),
) -> SFTTrainer:
    """A trainer that makes the adapter itself."""
    set_seed(arguments.seed)
    adapter: LoraConfig | None = None if method.peft is None else lora_config(method.peft)
    trainer = SFTTrainer(
        base, arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapter, callbacks=list(callbacks)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def losses_of(trainer: SFTTrainer) -> list[float]:
    """Loss of each step."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
