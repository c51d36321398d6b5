"""Train one trial alone, with TRL's SFTTrainer.

The trainer's loop is TRL's own; validation, pruning and the deadline hang on its log callback and leave its random
state as they find it, so a trial trains exactly as it would under a plain SFTTrainer.

TRL 1.16 turns the adapter over a 4-bit base to bfloat16, which would handicap QLoRA against LoRA: small updates round
away. The adapter is put back to what it was, float32 for both.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from trl import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from sweep.adapters import Trainee
from sweep.errors import TrialError
from sweep.models import are_finite, count_parameters, nondeterminism, sha256_of, trainable_weights, weights_sha256
from sweep.progress import Progress
from sweep.record import TrainingResult
from sweep.rungs import rungs
from sweep.spec import TrainingSpec
from sweep.training.arguments import sft_config
from sweep.training.callbacks import PrunedBeforeStepError, StepLog, TrialWatch
from sweep.training.outcome import TrainingOutcome
from sweep.training.ranks import ALONE, Ranks
from sweep.training.rows import Rows, batches, spread_evenly, with_labels
from sweep.training.saving import save_whole, scratch_of
from sweep.training.sharded import ShardedTrainer
from sweep.training.state.keeper import StateKeeper, steps_of
from sweep.training.trainer import SoloContinuation, SoloTrainer
from sweep.training.validation import validation_loss


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
    keeper: StateKeeper | None = None,
    ranks: Ranks = ALONE,
) -> TrainingOutcome:
    """Train, and save into `output` unless pruned.

    `on_rung` is called with rungs from 1 and ends the trial by returning True; `deadline` is on the monotonic clock.
    `keeper` saves what the trial needs to go on after an interruption, is asked whether to stop, and may have what it
    goes on from. Where several processes train together, each calls this with its place among them; the first saves,
    and what the others are given means nothing.
    Raises TrialError (diverged, deadline), StateUnusableError where a saved state does not fit, KeyboardInterrupt where
    it was asked to stop, and whatever the libraries raise.
    """
    saved = None if keeper is None else keeper.take()
    device = ranks.device or next(trainee.model.parameters()).device
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    validate = _validation(prepared, collator, training, device, keeper, ranks)
    scratch = scratch_of(output)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with StepLog(steps_file, b"" if saved is None else steps_of(saved)) as log:
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
                training,
                rows=len(rows),
                dtype=trainee.dtype,
                device=device,
                seed=seed,
                output=scratch,
                first_loads=ranks.first_loads,
            )
            labelled = with_labels(rows, max_length=training.max_length, completion_only=training.completion_only_loss)
            build = ShardedTrainer if ranks.count > 1 else SoloTrainer
            trainer = _build_trainer(build, trainee.model, arguments, labelled, tokenizer, collator)
            trainer.add_callback(watch)
            start = None
            if keeper is not None:
                watch.continuation = continuation = SoloContinuation(trainer, watch, log, keeper)
                start = None if saved is None else continuation.go_on_from(saved)
                # The trainer alone holds it from here on, until it has read it.
                del saved
            return _run(trainer, trainee, watch, output, start, ranks)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(  # noqa: PLR0913, PLR0917
    trainer: SoloTrainer, trainee: Trainee, watch: TrialWatch, output: Path, start: str | None, ranks: Ranks
) -> TrainingOutcome:
    initial = weights_sha256(trainee.model) if ranks.is_first else ""
    size = count_parameters(trainee.model)
    with suppress(PrunedBeforeStepError):
        trainer.train(resume_from_checkpoint=start)
    steps, mean_loss = trainer.state.global_step, watch.loss_total / max(trainer.state.global_step, 1)
    began, (positions,) = time.monotonic(), ranks.add_up(trainer.positions)
    trained = ranks.whole(trainable_weights(trainee.model))
    if not are_finite(trained):
        raise TrialError("diverged", "A trained weight is not a number after the last step.")
    final, optim, saved_bytes = sha256_of(trained), _describe_optim(trainer.args, trainee), 0
    if ranks.is_first and not watch.pruned:
        save = trainee.save if ranks.count == 1 else partial(trainee.save, weights=trained)
        saved_bytes = save_whole(output, save, trainer.processing_class)
    train_seconds = watch.loop_seconds - watch.validation_seconds - watch.waiting_seconds
    result = TrainingResult(
        optimizer_steps=steps,
        train_loss=mean_loss if math.isfinite(mean_loss) else None,
        validation_loss=watch.intermediate[max(watch.intermediate)] if watch.intermediate else None,
        tokens=watch.tokens,
        tokens_per_second=watch.tokens / train_seconds if train_seconds > 0 else 0.0,
        positions=int(positions),
        trainable_parameters=size.trainable,
        total_parameters=size.total,
        checkpoint_bytes=saved_bytes,
        initial_sha256=initial,
        final_sha256=final,
        optim=optim,
        nondeterminism=nondeterminism(trainer.args.device),
    )
    seconds = {
        "train": train_seconds,
        "validate": watch.validation_seconds,
        "wait": watch.waiting_seconds,
        "save": time.monotonic() - began,
    }
    return TrainingOutcome(result, watch.pruned, dict(watch.intermediate), seconds)


def _build_trainer(  # noqa: PLR0913, PLR0917
    build: type[SoloTrainer],
    model: torch.nn.Module,
    arguments: SFTConfig,
    rows: object,
    tokenizer: PreTrainedTokenizerBase,
    collator: DataCollatorForLanguageModeling,
) -> SoloTrainer:
    started_as = {name: weight.data for name, weight in trainable_weights(model).items()}
    trainer = build(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, data_collator=collator)
    for name, weight in trainable_weights(model).items():
        weight.data = started_as[name]
    trainer.remove_callback(PrinterCallback)
    return trainer


def _validation(  # noqa: PLR0913, PLR0917
    prepared: Rows,
    collator: DataCollatorForLanguageModeling,
    training: TrainingSpec,
    device: torch.device,
    keeper: StateKeeper | None,
    ranks: Ranks,
) -> Callable[[torch.nn.Module], float] | None:
    rows = prepared.dataset("validation")
    if len(rows) == 0:
        return None
    rows = rows.select(spread_evenly(len(rows), training.validation_rows))
    labelled = with_labels(rows, max_length=training.max_length, completion_only=True)
    make_batches = partial(batches, labelled, collator, batch_size=training.micro_batch_size, device=device)
    return lambda model: validation_loss(model, _until_asked(make_batches(), keeper), ranks)


def _until_asked(given: Iterator[dict[str, Any]], keeper: StateKeeper | None) -> Iterator[dict[str, Any]]:
    """The batches, as long as nobody asks to stop."""
    for batch in given:
        if keeper is not None and keeper.must_stop:
            raise KeyboardInterrupt
        yield batch


def _describe_optim(arguments: SFTConfig, trainee: Trainee) -> str:
    weights = next(iter(trainable_weights(trainee.model).values())).dtype
    described = f"{arguments.optim.value} on {str(weights).removeprefix('torch.')} weights"
    compute = str(trainee.dtype).removeprefix("torch.")
    return described if weights == trainee.dtype else f"{described}, {compute} compute"
