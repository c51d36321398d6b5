"""What a lane leaves behind: its saved adapter, and what its training came to."""

import math
import shutil
import time
from pathlib import Path

from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from evals.spec import ModelSpec
from sweep.record import TrainingResult
from sweep.training.lanes.lane import Lane
from sweep.training.lanes.seats import save_adapters
from sweep.training.solo import TrainingOutcome


def save(lane: Lane, base: PreTrainedModel, model: ModelSpec, tokenizer: PreTrainedTokenizerBase) -> TrainingOutcome:
    """Save a lane's adapter whole or not at all, unless it was pruned. Raises TrialError where it diverged."""
    began, output = time.monotonic(), lane.job.output
    scratch = output.with_name(f".{output.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    to = None if lane.pruned else scratch
    try:
        if to is not None:
            to.mkdir(parents=True)
        sha256 = save_adapters(base, lane.job.method, model, lane.adapters, seed=lane.job.seed, to=to)
        if to is not None:
            tokenizer.save_pretrained(to)
            shutil.rmtree(output, ignore_errors=True)
            to.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _outcome(lane, sha256, time.monotonic() - began)


def _outcome(lane: Lane, sha256: str, save_seconds: float) -> TrainingOutcome:
    output: Path = lane.job.output
    loss = lane.loss_total / max(lane.step, 1)
    saved = 0 if lane.pruned else sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    result = TrainingResult(
        optimizer_steps=lane.step,
        train_loss=loss if math.isfinite(loss) else None,
        validation_loss=lane.intermediate[max(lane.intermediate)] if lane.intermediate else None,
        tokens=lane.tokens,
        # Packed rows have no padding.
        positions=lane.tokens,
        tokens_per_second=lane.tokens / lane.train_seconds if lane.train_seconds > 0 else 0.0,
        trainable_parameters=lane.start.trainable,
        total_parameters=lane.start.total,
        checkpoint_bytes=saved,
        initial_sha256=lane.start.sha256,
        final_sha256=sha256,
        optim=lane.optim,
    )
    seconds = {"train": lane.train_seconds, "validate": lane.validation_seconds, "save": save_seconds}
    return TrainingOutcome(result, lane.pruned, dict(lane.intermediate), seconds)
