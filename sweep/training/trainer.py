"""TRL's trainer, with what a trial needs besides: padding is counted, and a saved state can be gone on from.

transformers saves and finds a training with torch's pickles in several files; here its hooks for that read one state
of ours, and the rest of its way to go on (rows skipped, random states set after the first batch) is left as it is.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTTrainer

from sweep.models import trainable_weights
from sweep.training.callbacks import StepLog, TrialWatch
from sweep.training.state.file import TrainingState
from sweep.training.state.keeper import StateKeeper, rungs_of
from sweep.training.state.parts import (
    part,
    put_optimizer,
    put_random,
    put_weights,
    take_optimizer,
    take_random,
    take_weights,
)


class SoloTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, without the message that each one sends to the Hub when it is made. Counts padding too."""

    positions = 0
    """Tokens of all batches trained on, padding counted."""
    _saved: TrainingState | None = None

    def training_step(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *given: Any) -> torch.Tensor:  # noqa: ANN401
        """Train on one micro-batch."""
        self.positions += inputs["input_ids"].numel()
        loss: torch.Tensor = super().training_step(model, inputs, *given)
        return loss

    def take_state(self) -> dict[str, TrainingState]:
        """What changes at an optimizer step: weights, moments, schedule, and where in the rows it is."""
        trainer = {**asdict(self.state), "log_history": []}
        scaler = getattr(self.accelerator, "scaler", None)
        return {
            "weights": take_weights(trainable_weights(self.model)),
            "optimizer": take_optimizer(_plain(self.optimizer)),
            "schedule": TrainingState({}, self.lr_scheduler.state_dict()),
            "scaler": TrainingState({}, {} if scaler is None else scaler.state_dict()),
            "trainer": TrainingState({}, trainer),
        }

    def take_counts(self) -> dict[str, int]:
        """What is counted between steps too."""
        return {"positions": self.positions, "tokens": self._total_train_tokens}

    def go_on_from(self, state: TrainingState, counts: dict[str, int]) -> str:
        """Prepare to go on from a state; the result is what `train` takes as `resume_from_checkpoint`."""
        self._saved = state
        self.positions, self._total_train_tokens = counts["positions"], counts["tokens"]
        directory = Path(self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        TrainerState(**part(state, "trainer").values).save_to_json(str(directory / TRAINER_STATE_NAME))
        return str(directory)

    def _load_from_checkpoint(self, *_: object, **__: object) -> None:
        put_weights(self._part("weights"), trainable_weights(self.model))

    def _load_optimizer_and_scheduler(self, *_: object) -> None:
        put_optimizer(self._part("optimizer"), _plain(self.optimizer))
        self.lr_scheduler.load_state_dict(dict(self._part("schedule").values))

    def _load_scaler(self, *_: object) -> None:
        values = self._part("scaler").values
        if values:
            self.accelerator.scaler.load_state_dict(dict(values))

    def _load_rng_state(self, *_: object) -> None:
        put_random(self._part("random"))
        # Nothing reads it any more, and it is as large as all that is trained.
        self._saved = None

    def _part(self, name: str) -> TrainingState:
        assert self._saved is not None  # noqa: S101
        return part(self._saved, name)

    def _send_telemetry(self) -> None:
        pass


class SoloContinuation:
    """Saves a trainer's state through a keeper, and gives it back to a new one."""

    def __init__(self, trainer: SoloTrainer, watch: TrialWatch, log: StepLog, keeper: StateKeeper) -> None:
        self._trainer = trainer
        self._watch = watch
        self._log = log
        self._keeper = keeper
        self._mark: dict[str, TrainingState] | None = None

    @property
    def must_stop(self) -> bool:
        """Whether this process was asked to end."""
        return self._keeper.must_stop

    def mark(self) -> None:
        """Remember what is drawn from and counted within steps as well."""
        watch = self._watch
        books = {
            "intermediate": {str(rung): loss for rung, loss in watch.intermediate.items()},
            "tokens": watch.tokens,
            "loss_total": watch.loss_total,
            "first_loss": watch.first_loss,
            "loop_seconds": watch.loop_seconds,
            "validation_seconds": watch.validation_seconds,
            "waiting_seconds": watch.waiting_seconds,
            "counts": self._trainer.take_counts(),
            "log_bytes": self._log.size,
        }
        self._mark = {"random": take_random(), "books": TrainingState({}, books)}

    def save_if_due(self) -> None:
        """Save the last mark where it is time."""
        if self._keeper.is_due:
            self.save()

    def save(self) -> None:
        """Save the last mark; before the first step there is nothing to save."""
        if self._mark is None:
            return
        steps = self._log.read(self._mark["books"].values["log_bytes"])
        parts = {**self._trainer.take_state(), **self._mark}
        self._keeper.save(parts, step=self._trainer.state.global_step, steps=steps)

    def finish_up(self) -> None:
        """The last step has been taken, and transformers cannot go on from there."""
        self._keeper.is_ending = True

    def go_on_from(self, state: TrainingState) -> str:
        """Put books back, and let the trainer put back the rest as it starts."""
        books, watch = part(state, "books").values, self._watch
        watch.intermediate = rungs_of(books)
        watch.tokens = books["tokens"]
        watch.loss_total = books["loss_total"]
        watch.first_loss = books["first_loss"]
        watch.loop_seconds = books["loop_seconds"]
        watch.validation_seconds = books["validation_seconds"]
        watch.waiting_seconds = books["waiting_seconds"]
        self._mark = {name: part(state, name) for name in ("random", "books")}
        return self._trainer.go_on_from(state, books["counts"])


def _plain(optimizer: Any) -> torch.optim.Optimizer:  # noqa: ANN401
    """The optimizer inside accelerate's."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
