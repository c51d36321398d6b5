"""The optimizer and the schedule of one lane."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import get_scheduler
from transformers.trainer import Trainer

from sweep.spec import TrainingSpec
from sweep.training.arguments import sft_config


def build(  # noqa: PLR0913
    training: TrainingSpec,
    parameters: Sequence[torch.nn.Parameter],
    *,
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
    output: Path,
) -> tuple[torch.optim.Optimizer, str, torch.optim.lr_scheduler.LRScheduler]:
    """What the Trainer would make, over these weights alone: the optimizer, its name there, and the schedule."""
    arguments = sft_config(training, rows=rows, dtype=dtype, device=device, seed=seed, output=output)
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    if kind is torch.optim.AdamW:
        # One pass over all weights of the lane; the same numbers up to rounding.
        settings = {**settings, "fused": True}
    settings.pop("foreach", None)
    optimizer = kind(parameters, weight_decay=arguments.weight_decay, **settings)
    steps = training.planned_steps(rows)
    schedule = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=arguments.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    return optimizer, arguments.optim.value, schedule
