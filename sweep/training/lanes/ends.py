"""What a lane leaves behind: its saved adapter, and what its training came to."""

import math
import time
from dataclasses import dataclass

from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from evals.spec import ModelSpec
from sweep.errors import TrialError
from sweep.models import nondeterminism, weights_are_finite, weights_sha256
from sweep.record import TrainingResult
from sweep.training.lanes.lane import Lane
from sweep.training.lanes.seats import trained_adapter
from sweep.training.outcome import TrainingOutcome
from sweep.training.saving import save_whole

SHARED = "how many trials were read in one forward, which is found out by the clock, decides how its sums are rounded"


@dataclass(frozen=True, slots=True)
class LaneEnd:
    """A trial has left its seat: it has an outcome, or an error."""

    lane: int
    outcome: TrainingOutcome | None
    error: BaseException | None


def save(lane: Lane, base: PreTrainedModel, model: ModelSpec, tokenizer: PreTrainedTokenizerBase) -> TrainingOutcome:
    """Save a lane's adapter whole or not at all, unless it was pruned. Raises TrialError where it diverged."""
    began, job = time.monotonic(), lane.job
    with trained_adapter(base, job.method, model, lane.adapters, seed=job.seed) as trainee:
        if not weights_are_finite(trainee.model):
            raise TrialError("diverged", "A trained weight is not a number after the last step.")
        sha256 = weights_sha256(trainee.model)
        saved = 0 if lane.pruned else save_whole(job.output, trainee.save, tokenizer)
    reason = SHARED if lane.ever_had_company else nondeterminism(next(base.parameters()).device)
    return _outcome(lane, sha256, saved, time.monotonic() - began, reason)


def _outcome(
    lane: Lane, sha256: str, saved_bytes: int, save_seconds: float, nondeterminism: str | None
) -> TrainingOutcome:
    loss = lane.loss_total / max(lane.step, 1)
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
        checkpoint_bytes=saved_bytes,
        initial_sha256=lane.start.sha256,
        final_sha256=sha256,
        optim=lane.optim,
        nondeterminism=nondeterminism,
    )
    seconds = {"train": lane.train_seconds, "validate": lane.validation_seconds, "save": save_seconds}
    return TrainingOutcome(result, lane.pruned, dict(lane.intermediate), seconds)
