"""What watches a trial while it trains: writes each step down, reports each rung, and ends a trial that must end.

Where the rungs lie is decided in `sweep.rungs`.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweep.errors import TrialError
from sweep.progress import Progress

DIVERGENCE_FACTOR = 3.0
"""A validation loss this many times the first training loss, and above that of a uniform guess, has diverged."""


class StepLog:
    """`steps.jsonl`: one JSON object for each optimizer step and each validation, on disk as soon as it is known."""

    def __init__(self, path: Path, earlier: bytes = b"") -> None:
        """`earlier` is what was written before the trial was interrupted."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # A new file: whoever still has the old one open writes into that.
        path.unlink(missing_ok=True)
        path.write_bytes(earlier)
        self._path = path
        self._stream = path.open("a", encoding="utf-8")

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

    @property
    def size(self) -> int:
        """Bytes that have been written."""
        return self._stream.tell()

    def read(self, size: int | None = None) -> bytes:
        """The first so many bytes, or all."""
        return self._path.read_bytes()[:size]


class Continuation(Protocol):
    """Saves what a trial needs to go on after an interruption."""

    @property
    def must_stop(self) -> bool:
        """Whether the trial is to be interrupted now."""

    def mark(self) -> None:
        """Nothing is under way: remember this moment as the one to go on from."""

    def save_if_due(self) -> None:
        """Save the last mark where it is time."""

    def save(self) -> None:
        """Save the last mark. Weights and optimizer must not have changed since."""

    def finish_up(self) -> None:
        """The last step has been taken: from here on it is quicker to end than to be interrupted."""


class _NoContinuation:
    """For a trial that is never gone on with."""

    must_stop = False

    def mark(self) -> None: ...

    def save_if_due(self) -> None: ...

    def save(self) -> None: ...

    def finish_up(self) -> None: ...


class PrunedBeforeStepError(Exception):
    """A trial that goes on was ended by the pruner at a rung that it had yet to be judged at."""


class TrialWatch(TrainerCallback):  # type: ignore[misc]
    """Follows one trial. Raises TrialError for divergence and the deadline; a pruned trial just stops.

    A trial that is told to stop is saved and raises KeyboardInterrupt. That may come between two micro-batches, in the
    middle of a validation or while the driver is asked about a rung: weights are then those of the last step, and the
    rung is taken when the trial goes on.
    """

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
        self.continuation: Continuation = _NoContinuation()
        self.intermediate: dict[int, float] = {}
        self.tokens = 0
        self.loss_total = 0.0
        self.loop_seconds = 0.0
        self.validation_seconds = 0.0
        self.waiting_seconds = 0.0
        self._log = log
        self._validate = validate
        self._on_rung = on_rung
        self._on_progress = on_progress
        self._deadline = deadline
        self._rungs = rungs if validate else {}
        self.first_loss = 0.0
        self._started = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:
        """Start the clock, at what it showed before an interruption."""
        del args
        self._started = time.monotonic() - self.loop_seconds
        self._on_progress(Progress("train", state.global_step, state.max_steps, None))

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: torch.nn.Module,
        **_: object,
    ) -> None:
        """A trial that was interrupted at a rung takes it before it goes on."""
        del args, control
        if state.global_step in self._rungs and self._rungs[state.global_step] not in self.intermediate:
            self._reach_rung(state, model)
            if self.pruned:
                raise PrunedBeforeStepError

    def on_substep_end(self, *_: object, **__: object) -> None:
        """Keep to the deadline within long steps too, and stop in them."""
        self._stop_if_asked()
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
        if state.global_step >= state.max_steps:
            self.continuation.finish_up()
        self._note_step(args, state, logs)
        if state.global_step in self._rungs:
            self._reach_rung(state, model)
            control.should_training_stop |= self.pruned
        if not self.pruned and state.global_step < state.max_steps:
            self._stop_if_asked()
            self.continuation.save_if_due()
        self._check_deadline()

    def _note_step(self, args: TrainingArguments, state: TrainerState, logs: dict[str, Any]) -> None:
        self.loop_seconds = time.monotonic() - self._started
        self.tokens = int(logs["num_tokens"])
        self._write_step(state, logs)
        # float16 training scales its loss up until gradients overflow, and skips those steps by design.
        norm = None if args.fp16 else logs.get("grad_norm")
        refuse_infinite(state.global_step, logs["loss"], norm)
        self.loss_total += logs["loss"]
        if state.global_step == 1:
            self.first_loss = logs["loss"]
        self.continuation.mark()
        self._on_progress(Progress("train", state.global_step, state.max_steps, logs["loss"]))

    def _reach_rung(self, state: TrainerState, model: torch.nn.Module) -> None:
        try:
            self.pruned = self._take_rung(state, model)
        except KeyboardInterrupt:
            self.continuation.save()
            raise
        # The last rung comes after the last step: the loop's time has to hold what is subtracted from it.
        self.loop_seconds = time.monotonic() - self._started
        self.continuation.mark()

    def _stop_if_asked(self) -> None:
        if self.continuation.must_stop:
            self.continuation.save()
            raise KeyboardInterrupt

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
        refuse_diverged(state.global_step, loss, first_loss=self.first_loss, vocabulary=vocabulary)
        self.intermediate[rung] = loss
        self._on_progress(Progress("validate", state.global_step, state.max_steps, loss))
        began = time.monotonic()
        try:
            ends = self._on_rung(rung, loss)
        except KeyboardInterrupt:
            if state.global_step < state.max_steps:
                raise
            # Nobody answers any more; a trial at its end is not pruned anyway.
            ends = False
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
