"""Three ways to train on a model that is in memory: TRL's trainer, ours for a trial alone, and lanes.

Each leaves the model as it found it, and gives tokens a second after the first steps, which warm up.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from agreement import without_bars
from peft import PeftModel
from plain_trl import plain_config, plain_trainer
from setting import RandomRows, Setting, method, peak_memory, wait_for
from toy_tokenizer import byte_tokenizer
from transformers import TrainerCallback
from transformers.modeling_utils import PreTrainedModel

from sweep.adapters import attach
from sweep.models import count_parameters
from sweep.spec import MethodKind, MethodSpec
from sweep.training.lanes.engine import Lanes
from sweep.training.lanes.lane import LaneJob
from sweep.training.solo import train

WARM_UP = 3
"""Steps that are left out of the time."""
FOREVER = 1000
"""Steps of a lane, so that none ends while its neighbours are timed."""
LONGEST = 15.0
"""Seconds after which no further round of lanes is timed; three are in any case."""


@dataclass(frozen=True)
class Work:
    """What one trial is trained on."""

    size: str
    kind: MethodKind
    rows: int
    """Of a micro-batch, which is a step."""
    tokens: int
    """Of each row."""

    @property
    def name(self) -> str:
        """For points and tables."""
        return f"{self.size}/{self.kind}/{self.rows}x{self.tokens}"

    @property
    def tokens_a_step(self) -> int:
        """Of one trial."""
        return self.rows * self.tokens

    def method(self, *, steps: int, **training: object) -> MethodSpec:
        """Settings that all ways share."""
        return method(self.kind, self.rows, self.tokens, steps=steps, **training)


@dataclass(frozen=True)
class Pace:
    """How fast a way is."""

    tokens_per_second: float
    step_seconds: float
    """Of all trials together."""
    trainable: int
    """Parameters that one trial trains."""
    peak_gib: float | None
    width: int | None = None
    """Lanes that shared a forward in the end."""

    @property
    def values(self) -> dict[str, float | int | None]:
        """For a row."""
        return {**self.__dict__, "step_ms": 1000 * self.step_seconds}


class _Clock(TrainerCallback):
    """Time between the end of the warm-up and the end of the training."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.began = self.ended = 0.0

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        del args, control
        if state.global_step == WARM_UP:  # type: ignore[attr-defined]
            wait_for(self._device)
            self.began = time.perf_counter()

    def on_train_end(self, *_: object, **__: object) -> None:
        wait_for(self._device)
        self.ended = time.perf_counter()


def by_trl(setting: Setting, work: Work, steps: int) -> Pace:
    """A plain SFTTrainer."""
    base, rows = setting.base(work.size, work.kind), _rows(setting, work)
    given, clock = work.method(steps=WARM_UP + steps), _Clock(setting.device)
    with TemporaryDirectory(dir=setting.scratch) as scratch, peak_memory(setting.device) as peak, without_bars():
        # Logging waits for the device, and a user need not log each step.
        arguments = plain_config(given, dtype=setting.dtype, seed=1, output=Path(scratch), logging_steps=FOREVER)
        base.requires_grad_(requires_grad=work.kind == "full")
        trainer = plain_trainer(base, rows.dataset("train"), byte_tokenizer(), given, arguments, callbacks=[clock])
        trainable = count_parameters(trainer.model).trainable
        try:
            trainer.train()
        finally:
            _detach(trainer.model, base)
    each = (clock.ended - clock.began) / steps
    return Pace(work.tokens_a_step / each, each, trainable, peak.get("peak_gib"))


def alone(setting: Setting, work: Work, steps: int, **training: object) -> Pace:
    """Ours for a trial that does not sit in a lane."""
    base = setting.base(work.size, work.kind)
    given = work.method(steps=WARM_UP + steps, **training)
    with TemporaryDirectory(dir=setting.scratch) as scratch, peak_memory(setting.device) as peak, without_bars():
        trainee = attach(base, given, setting.spec, seed=1, load_original=_nothing)
        trainable = count_parameters(trainee.model).trainable
        log = Path(scratch) / "steps.jsonl"
        # What is trained here is not kept.
        trainee = type(trainee)(trainee.model, lambda _: None, trainee.dtype)
        try:
            train(
                trainee,
                byte_tokenizer(),
                _rows(setting, work),
                given.training,
                seed=1,
                output=Path(scratch) / "checkpoint",
                steps_file=log,
                on_rung=lambda *_: False,
                on_progress=lambda _: None,
                deadline=None,
            )
        finally:
            _detach(trainee.model, base)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    each = (lines[-1]["seconds"] - lines[WARM_UP - 1]["seconds"]) / steps
    return Pace(work.tokens_a_step / each, each, trainable, peak.get("peak_gib"))


def together(
    setting: Setting, work: Work, steps: int, *, lanes: int, width: int | None = -1, **training: object
) -> Pace:
    """Lanes over the model; all share a forward unless `width` says otherwise, none being for it to be found."""
    # Made before the peak is taken.
    setting.base(work.size, work.kind)
    with peak_memory(setting.device) as peak, seated(setting, work, lanes, width=width, **training) as (seats, step):
        while seats.width is None:
            step()
        for _ in range(WARM_UP):
            step()
        wait_for(setting.device)
        began, rounds = time.perf_counter(), 0
        while rounds < steps and (rounds < WARM_UP or time.perf_counter() - began < LONGEST):
            step()
            rounds += 1
        wait_for(setting.device)
        each = (time.perf_counter() - began) / rounds
        trainable = next(iter(seats._lanes.values())).start.trainable
        found = seats.width
    return Pace(lanes * work.tokens_a_step / each, each, trainable, peak.get("peak_gib"), found)


@contextmanager
def seated(
    setting: Setting, work: Work, lanes: int, *, width: int | None = -1, **training: object
) -> Iterator[tuple[Lanes, Callable[[], None]]]:
    """Lanes that are ready to step. A step raises what ended one of them."""
    base = setting.base(work.size, work.kind)
    given = work.method(steps=FOREVER, **training)
    with TemporaryDirectory(dir=setting.scratch) as scratch, without_bars():
        seats = Lanes(
            base, byte_tokenizer(), _rows(setting, work), model=setting.spec, device=setting.device,
            width=lanes if width == -1 else width,
        )  # fmt: skip

        def step() -> None:
            for end in seats.step():
                raise end.error or RuntimeError("a lane ended before its time.")

        try:
            for number in range(lanes):
                here = Path(scratch) / str(number)
                seats.seat(
                    LaneJob(
                        given, number, here / "checkpoint", here / "steps.jsonl",
                        on_rung=lambda *_: False, on_loss=lambda *_: None, on_progress=lambda _: None, deadline=None,
                    )
                )  # fmt: skip
            yield seats, step
        finally:
            seats.close()


def _rows(setting: Setting, work: Work) -> RandomRows:
    return RandomRows(work.rows, work.tokens, setting.sizes[work.size].vocabulary)


def _detach(model: torch.nn.Module, base: PreTrainedModel) -> None:
    """Take an adapter off."""
    if isinstance(model, PeftModel):
        model.unload()
    for left in ("peft_config", "_hf_peft_config_loaded"):
        base.__dict__.pop(left, None)
    base.requires_grad_(requires_grad=False)
    if base.is_activation_checkpointing:
        base.activation_checkpointing_disable()
    base.zero_grad(set_to_none=True)


def _nothing() -> PreTrainedModel:
    raise RuntimeError("no adapter here starts from the weights.")
