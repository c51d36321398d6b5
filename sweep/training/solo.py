"""Train one trial alone, with TRL's SFTTrainer.

The trainer's loop is TRL's own; validation, pruning and the deadline hang on its log callback and leave its random
state as they find it, so a trial trains exactly as it would under a plain SFTTrainer.

TRL 1.16 turns the adapter over a 4-bit base to bfloat16, which would handicap QLoRA against LoRA: small updates round
away. The adapter is put back to what it was, float32 for both.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from sweep.adapters import Trainee
from sweep.errors import TrialError
from sweep.models import count_parameters, trainable_weights, weights_are_finite, weights_sha256
from sweep.progress import Progress
from sweep.record import TrainingResult
from sweep.rungs import rungs
from sweep.spec import TrainingSpec
from sweep.training.arguments import sft_config
from sweep.training.callbacks import StepLog, TrialWatch
from sweep.training.rows import Rows, batches, spread_evenly, with_labels
from sweep.training.saving import save_whole, scratch_of
from sweep.training.validation import validation_loss


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What training came to, unless it raised."""

    result: TrainingResult
    """Measurements."""
    pruned: bool
    """Ended early by the pruner; nothing was saved."""
    intermediate: dict[int, float]
    """Validation loss by rung."""
    seconds: dict[str, float]
    """Wall time by part: train, validate, wait, save."""


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, without the message that each one sends to the Hub when it is made. Counts padding too."""

    positions = 0
    """Tokens of all batches trained on, padding counted."""

    def training_step(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *given: Any) -> torch.Tensor:  # noqa: ANN401
        self.positions += inputs["input_ids"].numel()
        loss: torch.Tensor = super().training_step(model, inputs, *given)
        return loss

    def _send_telemetry(self) -> None:
        pass


def train(  # noqa: PLR0913
    trainee: Trainee,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Rows,
    training: TrainingSpec,
    *,
    seed: int,
    output: Path,
    steps_file: Path,
    on_rung: Callable[[int, float], bool],
    on_progress: Callable[[Progress], None],
    deadline: float | None,
) -> TrainingOutcome:
    """Train, and save into `output` unless pruned.

    `on_rung` is called with rungs from 1 and ends the trial by returning True; `deadline` is on the monotonic clock.
    Raises TrialError (diverged, deadline), and whatever the libraries raise.
    """
    device = next(trainee.model.parameters()).device
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    validate = _validation(prepared, collator, training, device)
    scratch = scratch_of(output)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with StepLog(steps_file) as log:
            rows = prepared.dataset("train")
            watch = TrialWatch(
                log,
                validate=validate,
                rungs=rungs(training, len(rows)),
                on_rung=on_rung,
                on_progress=on_progress,
                deadline=deadline,
            )
            arguments = sft_config(
                training, rows=len(rows), dtype=trainee.dtype, device=device, seed=seed, output=scratch
            )
            labelled = with_labels(rows, max_length=training.max_length, completion_only=training.completion_only_loss)
            trainer = _build_trainer(trainee.model, arguments, labelled, tokenizer, collator)
            trainer.add_callback(watch)
            return _run(trainer, trainee, watch, output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(trainer: _Trainer, trainee: Trainee, watch: TrialWatch, output: Path) -> TrainingOutcome:
    initial = weights_sha256(trainee.model)
    size = count_parameters(trainee.model)
    summary = trainer.train()
    if not weights_are_finite(trainee.model):
        raise TrialError("diverged", "A trained weight is not a number after the last step.")
    final, optim = weights_sha256(trainee.model), _describe_optim(trainer.args, trainee)
    began = time.monotonic()
    saved_bytes = 0 if watch.pruned else save_whole(output, trainee.save, trainer.processing_class)
    train_seconds = watch.loop_seconds - watch.validation_seconds - watch.waiting_seconds
    result = TrainingResult(
        optimizer_steps=summary.global_step,
        train_loss=summary.training_loss if math.isfinite(summary.training_loss) else None,
        validation_loss=watch.intermediate[max(watch.intermediate)] if watch.intermediate else None,
        tokens=watch.tokens,
        tokens_per_second=watch.tokens / train_seconds if train_seconds > 0 else 0.0,
        positions=trainer.positions,
        trainable_parameters=size.trainable,
        total_parameters=size.total,
        checkpoint_bytes=saved_bytes,
        initial_sha256=initial,
        final_sha256=final,
        optim=optim,
    )
    seconds = {
        "train": train_seconds,
        "validate": watch.validation_seconds,
        "wait": watch.waiting_seconds,
        "save": time.monotonic() - began,
    }
    return TrainingOutcome(result, watch.pruned, dict(watch.intermediate), seconds)


def _build_trainer(
    model: torch.nn.Module,
    arguments: SFTConfig,
    rows: object,
    tokenizer: PreTrainedTokenizerBase,
    collator: DataCollatorForLanguageModeling,
) -> _Trainer:
    started_as = {name: weight.data for name, weight in trainable_weights(model).items()}
    trainer = _Trainer(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, data_collator=collator
    )
    for name, weight in trainable_weights(model).items():
        weight.data = started_as[name]
    trainer.remove_callback(PrinterCallback)
    return trainer


def _validation(
    prepared: Rows, collator: DataCollatorForLanguageModeling, training: TrainingSpec, device: torch.device
) -> Callable[[torch.nn.Module], float] | None:
    rows = prepared.dataset("validation")
    if len(rows) == 0:
        return None
    rows = rows.select(spread_evenly(len(rows), training.validation_rows))
    labelled = with_labels(rows, max_length=training.max_length, completion_only=True)
    make_batches = partial(batches, labelled, collator, batch_size=training.micro_batch_size, device=device)
    return lambda model: validation_loss(model, make_batches())


def _describe_optim(arguments: SFTConfig, trainee: Trainee) -> str:
    weights = next(iter(trainable_weights(trainee.model).values())).dtype
    described = f"{arguments.optim.value} on {str(weights).removeprefix('torch.')} weights"
    compute = str(trainee.dtype).removeprefix("torch.")
    return described if weights == trainee.dtype else f"{described}, {compute} compute"
