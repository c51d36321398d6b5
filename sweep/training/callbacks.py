"""What watches a trial while it trains: writes each step down, reports each rung, and ends a trial that must end.

Where the rungs lie is decided in `sweep.rungs`.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweep.errors import TrialError
from sweep.progress import Progress

DIVERGENCE_FACTOR = 3.0
"""A validation loss this many times the first training loss, and above that of a uniform guess, has diverged."""


class StepLog:
    """`steps.jsonl`: one JSON object for each optimizer step and each validation, on disk as soon as it is known."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, **values: float | None) -> None:
        """Append one line."""
        # JSON has no NaN: a loss that is not a number is written as null.
        finite = {key: value if value is None or math.isfinite(value) else None for key, value in values.items()}
        self._stream.write(json.dumps(finite) + "\n")
        self._stream.flush()


class TrialWatch(TrainerCallback):  # type: ignore[misc]
    """Follows one trial. Raises TrialError for divergence and the deadline; a pruned trial just stops."""

    def __init__(  # noqa: PLR0913
        self,
        log: StepLog,
        *,
        validate: Callable[[torch.nn.Module], float] | None,
        rungs: Mapping[int, int],
        on_rung: Callable[[int, float], bool],
        on_progress: Callable[[Progress], None],
        deadline: float | None,
    ) -> None:
        self.pruned = False
        self.intermediate: dict[int, float] = {}
        self.tokens = 0
        self.loop_seconds = 0.0
        self.validation_seconds = 0.0
        self.waiting_seconds = 0.0
        self._log = log
        self._validate = validate
        self._on_rung = on_rung
        self._on_progress = on_progress
        self._deadline = deadline
        self._rungs = rungs if validate else {}
        self._first_loss = 0.0
        self._started = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:
        """Start the clock."""
        del args
        self._started = time.monotonic()
        self._on_progress(Progress("train", 0, state.max_steps, None))

    def on_substep_end(self, *_: object, **__: object) -> None:
        """Keep to the deadline within long steps too."""
        self._check_deadline()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        logs: dict[str, Any],
        model: torch.nn.Module,
        **_: object,
    ) -> None:
        """After each optimizer step; the summary at the end of training has no `loss`."""
        if "loss" not in logs:
            return
        self.loop_seconds = time.monotonic() - self._started
        self.tokens = int(logs["num_tokens"])
        self._write_step(state, logs)
        # float16 training scales its loss up until gradients overflow, and skips those steps by design.
        norm = None if args.fp16 else logs.get("grad_norm")
        refuse_infinite(state.global_step, logs["loss"], norm)
        self._on_progress(Progress("train", state.global_step, state.max_steps, logs["loss"]))
        if state.global_step == 1:
            self._first_loss = logs["loss"]
        if state.global_step in self._rungs:
            self.pruned = self._take_rung(state, model)
            # The last rung comes after the last step: the loop's time has to hold what is subtracted from it.
            self.loop_seconds = time.monotonic() - self._started
            control.should_training_stop |= self.pruned
        self._check_deadline()

    def _write_step(self, state: TrainerState, logs: dict[str, Any]) -> None:
        self._log.write(
            step=state.global_step,
            epoch=state.epoch,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=logs.get("grad_norm"),
            tokens=self.tokens,
            seconds=self.loop_seconds,
        )

    def _take_rung(self, state: TrainerState, model: torch.nn.Module) -> bool:
        assert self._validate is not None  # noqa: S101
        rung, began = self._rungs[state.global_step], time.monotonic()
        loss = self._validate(model)
        self.validation_seconds += time.monotonic() - began
        self._log.write(step=state.global_step, rung=rung, validation_loss=loss)
        vocabulary = getattr(model, "config").get_text_config().vocab_size  # noqa: B009
        refuse_diverged(state.global_step, loss, first_loss=self._first_loss, vocabulary=vocabulary)
        self.intermediate[rung] = loss
        self._on_progress(Progress("validate", state.global_step, state.max_steps, loss))
        began = time.monotonic()
        ends = self._on_rung(rung, loss)
        self.waiting_seconds += time.monotonic() - began
        return ends

    def _check_deadline(self) -> None:
        # The driver may be waiting for a database, which is not the trial's fault.
        if self._deadline is not None and time.monotonic() > self._deadline + self.waiting_seconds:
            raise TrialError("deadline", "The trial ran past its deadline while training.")


def refuse_infinite(step: int, loss: float, gradient_norm: float | None) -> None:
    """Raise TrialError where a step's loss, or its gradient's norm if there is one, is no number."""
    for name, value in (("training loss", loss), ("gradient's norm", gradient_norm)):
        if value is not None and not math.isfinite(value):
            raise TrialError("diverged", f"The {name} at step {step} is {value}.")


def refuse_diverged(step: int, loss: float, *, first_loss: float, vocabulary: int) -> None:
    """Raise TrialError where a validation loss is far above the first training loss, and above a uniform guess."""
    guess = math.log(vocabulary)
    if not math.isfinite(loss):
        raise TrialError("diverged", f"The validation loss at step {step} is {loss}.")
    if loss > max(DIVERGENCE_FACTOR * first_loss, guess):
        raise TrialError(
            "diverged",
            f"The validation loss at step {step} is {loss:.3g}, from a first loss of {first_loss:.3g}; "
            f"a uniform guess has {guess:.3g}.",
        )
