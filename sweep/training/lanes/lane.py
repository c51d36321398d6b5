"""One trial's seat: its adapter, optimizer, schedule, rows and books.

A lane counts, steps and reports as a trainer alone would. It computes nothing of the model: the engine hands it the
losses of its micro-batches and finds its gradients in place.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sweep.progress import Progress
from sweep.rungs import rungs
from sweep.spec import MethodSpec
from sweep.training.callbacks import StepLog, refuse_diverged, refuse_infinite
from sweep.training.lanes import optimizer
from sweep.training.lanes.order import RawRows, Window, validation_rows_for, windows
from sweep.training.lanes.packed import Row, Share
from sweep.training.lanes.stacks import LaneAdapters
from sweep.training.state.file import TrainingState
from sweep.training.state.keeper import StateKeeper, rungs_of, step_of, steps_of
from sweep.training.state.parts import part, put_optimizer, put_weights, take_optimizer, take_weights


@dataclass(frozen=True, slots=True)
class LaneJob:
    """One trial to train."""

    method: MethodSpec
    seed: int
    output: Path
    """Where the adapter is saved, unless the trial is pruned."""
    steps_file: Path
    on_rung: Callable[[int, float], bool]
    """Called with rungs from 1 and the validation loss; True ends the trial."""
    on_loss: Callable[[int, float], None]
    """Called with the same before any of the trials that came to rungs in the same step is judged."""
    on_progress: Callable[[Progress], None]
    deadline: float | None
    """On the monotonic clock."""
    keeper: StateKeeper | None = None
    """Saves what the trial needs to go on after an interruption, and may have what it goes on from."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is known of a lane's adapter before its first step."""

    sha256: str
    trainable: int
    total: int


class Lane:
    """A trial while it is seated."""

    def __init__(  # noqa: PLR0913
        self,
        job: LaneJob,
        adapters: LaneAdapters,
        start: Start,
        rows: Sequence[Row],
        *,
        dtype: torch.dtype,
        device: torch.device,
        validates: bool,
    ) -> None:
        training = job.method.training
        self.job = job
        self.adapters = adapters
        self.start = start
        self.max_steps = training.planned_steps(len(rows))
        self.rungs = rungs(training, len(rows)) if validates else {}
        self.intermediate: dict[int, float] = {}
        self.step = 0
        self.tokens = 0
        self.loss_total = 0.0
        self.train_seconds = 0.0
        self.validation_seconds = 0.0
        self.excused_seconds = 0.0
        self.pruned = False
        self.unjudged: tuple[int, float] | None = None
        """The rung that it has come to and its loss there, until somebody has judged it."""
        self.ever_had_company = False
        self.optimizer, self.optim, self.schedule = optimizer.build(
            training,
            adapters.parameters,
            rows=len(rows),
            dtype=dtype,
            device=device,
            seed=job.seed,
            output=job.output,
        )
        saved = None if job.keeper is None else job.keeper.take()
        self.log = StepLog(job.steps_file, b"" if saved is None else steps_of(saved))
        self._first_loss = self._rate = 0.0
        self._windows: Iterator[Window] = windows(rows, training, seed=job.seed)
        if saved is not None:
            self._go_on_from(saved)
        self._open_window(None if saved is None else part(saved, "random").tensors["dropout"])
        self._mark()
        job.on_progress(Progress("train", self.step, self.max_steps, None))

    @property
    def validation_rows(self) -> int:
        """Most rows that its validation losses are taken over."""
        return self.job.method.training.validation_rows

    def validated_on(self, raw: RawRows) -> tuple[LaneAdapters, list[Row]]:
        """Its adapters, and the rows that they are validated on."""
        return self.adapters, validation_rows_for(raw, self.job.method.training)

    @property
    def is_done(self) -> bool:
        """Whether the last step has been taken, or the pruner has ended it."""
        return self.pruned or self.step >= self.max_steps

    @property
    def is_at_rung(self) -> bool:
        """Whether a validation loss is due."""
        rung = self.rungs.get(self.step)
        return rung is not None and rung not in self.intermediate

    @property
    def share(self) -> Share:
        """The micro-batch that comes next."""
        return Share(self.adapters.lane, self._window.batches[self._next], 1.0 / self._window.learned)

    @property
    def ends_window(self) -> bool:
        """Whether the optimizer has to step after the micro-batch that comes next."""
        return self._next + 1 == len(self._window.batches)

    def take(self, loss: float, *, shared: bool) -> None:
        """Note the loss of the micro-batch that was read, and whether other lanes were read with it."""
        self._next += 1
        self._loss += loss
        self.ever_had_company |= shared

    def rewind(self) -> None:
        """Forget what was read since the last step: gradients, losses and dropout are as they were then."""
        self._next, self._loss = 0, 0.0
        self.adapters.generator.set_state(self._dropout_state)
        self.zero_grad()

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place."""
        grads = [weight.grad for weight in self.adapters.parameters if weight.grad is not None]
        torch._foreach_zero_(grads)

    def clip_gradient(self) -> torch.Tensor:
        """Clip the gradient. Gives the norm that it had before, on the device."""
        limit = self.job.method.training.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(self.adapters.parameters, limit if limit > 0 else math.inf)

    def step_optimizer(self) -> None:
        """Step the optimizer and the schedule, without waiting for the device."""
        self._rate = float(self.schedule.get_last_lr()[0])
        self.optimizer.step()
        self.schedule.step()
        self.zero_grad()

    def finish_step(self, gradient_norm: float) -> None:
        """Write down the step that the optimizer has taken. Raises TrialError where it diverged."""
        self.step += 1
        self.tokens += self._window.tokens
        self.loss_total += self._loss
        self.log.write(
            step=self.step,
            epoch=self._window.epoch,
            loss=self._loss,
            learning_rate=self._rate,
            grad_norm=gradient_norm,
            tokens=self.tokens,
            seconds=self.train_seconds + self.validation_seconds,
        )
        refuse_infinite(self.step, self._loss, gradient_norm)
        self.job.on_progress(Progress("train", self.step, self.max_steps, self._loss))
        if self.step == 1:
            self._first_loss = self._loss
        self._mark()

    def open_next_window(self) -> None:
        """Go on to the rows of the next step."""
        if not self.is_done:
            self._open_window()

    def note_loss(self, loss: float, vocabulary: int) -> None:
        """Write down a validation loss. Raises TrialError where it diverged."""
        rung = self.rungs[self.step]
        self.log.write(step=self.step, rung=rung, validation_loss=loss)
        refuse_diverged(self.step, loss, first_loss=self._first_loss, vocabulary=vocabulary)
        self.intermediate[rung] = loss
        self.unjudged = rung, loss
        self.job.on_progress(Progress("validate", self.step, self.max_steps, loss))

    def take_verdict(self, *, prune: bool) -> None:
        """Go on or end where the validation loss was noted."""
        self.pruned = prune
        self.unjudged = None
        self._mark()

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.job.deadline is not None and time.monotonic() > self.job.deadline + self.excused_seconds

    def close(self) -> None:
        """Close its files."""
        self.log.__exit__()

    @property
    def must_stop(self) -> bool:
        """Whether it is to be interrupted."""
        return self.job.keeper is not None and self.job.keeper.must_stop

    def save_if_due(self) -> None:
        """Save its state where it is time."""
        if self.job.keeper is not None and self.job.keeper.is_due:
            self.save()

    def save(self) -> None:
        """Save its state as it was when its window was opened, whatever has been read of that since.

        None of it depends on who sits beside it.
        """
        if self.job.keeper is None or self.step == 0 or self.pruned:
            return
        log_bytes, intermediate = self._marked
        books = {
            "intermediate": {str(rung): loss for rung, loss in intermediate.items()},
            "tokens": self.tokens,
            "loss_total": self.loss_total,
            "first_loss": self._first_loss,
            "train_seconds": self.train_seconds,
            "validation_seconds": self.validation_seconds,
            "ever_had_company": self.ever_had_company,
        }
        parts = {
            "weights": take_weights(self._named),
            "optimizer": take_optimizer(self.optimizer),
            "schedule": TrainingState({}, self.schedule.state_dict()),
            "random": TrainingState({"dropout": self._dropout_state}, {}),
            "books": TrainingState({}, books),
        }
        self.job.keeper.save(parts, step=self.step, steps=self.log.read(log_bytes))

    @property
    def _named(self) -> dict[str, torch.nn.Parameter]:
        own = self.adapters.modules.items()
        downs = {f"{name}/down": adapter.down for name, adapter in own}
        return downs | {f"{name}/up": adapter.up for name, adapter in own}

    def _go_on_from(self, saved: TrainingState) -> None:
        put_weights(part(saved, "weights"), self._named)
        put_optimizer(part(saved, "optimizer"), self.optimizer)
        self.schedule.load_state_dict(dict(part(saved, "schedule").values))
        books = part(saved, "books").values
        self.step = step_of(saved)
        self.intermediate = rungs_of(books)
        self.tokens, self.loss_total = books["tokens"], books["loss_total"]
        self._first_loss = books["first_loss"]
        self.train_seconds, self.validation_seconds = books["train_seconds"], books["validation_seconds"]
        self.ever_had_company = books["ever_had_company"]
        for _ in range(self.step):
            next(self._windows)

    def _mark(self) -> None:
        """Remember what has been written down and judged: a rung that is under way is not."""
        self._marked = self.log.size, dict(self.intermediate)

    def _open_window(self, dropout_state: torch.Tensor | None = None) -> None:
        """Go on to the next rows; `dropout_state` is what the generator was at when that window was first opened."""
        self._window = next(self._windows)
        self._next, self._loss = 0, 0.0
        if dropout_state is not None:
            self.adapters.generator.set_state(dropout_state)
        elif self._window.starts_epoch and self.adapters.generator.device.type == "cpu":
            # A DataLoader draws a seed for its workers each time, though there are none, on the CPU.
            drawn = torch.empty((), dtype=torch.int64)
            drawn.random_(generator=self.adapters.generator)
        self._dropout_state = self.adapters.generator.get_state()
