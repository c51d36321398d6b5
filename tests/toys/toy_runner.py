"""A runner whose trials take no time: real processes, real pipes and real deaths around an arithmetic loss.

The loss of a trial is smallest at a learning rate of 1e-3; a trial's method and number can be made to go wrong.
"""

import errno
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from evals.result import EvalResult, Metric
from evals.spec import ModelSpec, TaskSpec
from sweep.config import TrialConfig
from sweep.easing import eased
from sweep.errors import TaskError
from sweep.progress import Progress
from sweep.protocol import Floor, Prepared, PrepareData, RunTogether, RunTrial
from sweep.record import Failure, TrainingResult, TrialRecord
from sweep.shape import Facts
from sweep.spec import (
    BudgetSpec,
    DataSpec,
    Dimension,
    EvaluationSpec,
    MethodSpec,
    ObjectiveSpec,
    PeftSpec,
    StudySpec,
    TrainingSpec,
)

RATE = "training.learning_rate"
LEAKED: list[bytes | bytearray] = []


@dataclass(frozen=True)
class ToyRunner:
    """Writes a line for each trial that it really runs to `calls`."""

    calls: Path
    seconds: float = 0.0
    out_of_memory_above: float = math.inf
    """Learning rate from which a trial runs out of memory."""
    most_rows: int | None = None
    """Rows of a micro-batch that fit; with more a trial runs out of memory. At 0 none fits, recomputed or not."""
    eats: bool = False
    """Whether such a trial takes memory until it is ended, rather than say so."""
    dies: tuple[str, ...] = ()
    """Trials, as `method/number`, whose worker is killed in their middle."""
    dies_of: signal.Signals = signal.SIGKILL
    hangs: tuple[str, ...] = ()
    saves_for_ever: bool = False
    """Whether a trial that is told to stop begins to save its state, and never gets done with it."""
    tells: bool = False
    """Whether trials that begin together come to their first rung together."""
    diverged: tuple[str, ...] = ()
    prepare_dies: Path | None = None
    """A worker that prepares the data is killed, unless this file is there; it is made before."""
    crashes: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    full_disk: tuple[str, ...] = ()
    """Trials whose worker finds no room for something that it writes."""
    refuses: tuple[str, ...] = ()
    blabs: tuple[str, ...] = ()
    """Trials that print every secret of the environment, and end in an error which repeats them, as a library's may."""
    leaks_bytes: int = 0
    """Memory that each trial leaves behind in its worker."""
    rows: int = 80
    metric: str = "own/loss"
    tokens: tuple[tuple[str, int], ...] = ()
    """Tokens that a trial trains on, by its method."""
    minutes: tuple[tuple[str, float], ...] = ()
    """What a trial says that it took, by its method."""
    facts: Facts | None = None

    def ask_to_stop(self) -> bool:
        """A toy has nothing to save, unless it is never to get done with it."""
        return self.saves_for_ever

    def prepare(self, request: PrepareData) -> Prepared:
        print(f"prepared with seed {request.seed} on {os.environ.get('CUDA_VISIBLE_DEVICES')}")  # noqa: T201 - what a log is for
        if self.prepare_dies is not None and not self.prepare_dies.exists():
            self.prepare_dies.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        split = {"train": self.rows, "validation": 2, "test": 2}
        return Prepared(
            split, {name: f"{name}-{count}" for name, count in split.items()}, (), {"python": "toy"}, self.facts
        )

    def run(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        ended = self._ended(request, on_rung=on_rung, on_progress=on_progress)
        method = request.config.method or ""
        minutes = dict(self.minutes).get(method, 0.0)
        return ended.model_copy(update={"tokens": dict(self.tokens).get(method, 0), "seconds_total": minutes * 60})

    def run_together(self, request: RunTogether, floor: Floor) -> None:
        """One after another, but all that are seated are known to the driver as running."""
        seated = list(request.trials)
        with self.calls.open("a") as stream:
            stream.write(f"together {len(seated)} of {request.seats}\n")
        for place, trial in enumerate(seated if self.tells else ()):
            floor.on_loss(place, 1, validation_loss(trial.config, 1))
        for place, trial in enumerate(seated):
            record = self.run(
                trial, on_rung=partial(floor.on_rung, place), on_progress=partial(floor.on_progress, place)
            )
            floor.finished(place, record)
            seated += floor.more(1)

    def _ended(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        config = request.config
        name = f"{config.method}/{config.number}"
        with self.calls.open("a") as stream:
            stream.write(f"{config.phase} {name} {os.getpid()}\n")
        on_progress(Progress("train", 1, 2, None))
        time.sleep(self.seconds)
        LEAKED.append(b"x" * self.leaks_bytes)
        self._go_wrong(name)
        loss = loss_of(config)
        intermediate: dict[int, float] = {}
        for rung in range(1, 3 if config.method else 1):
            intermediate[rung] = validation_loss(config, rung)
            if on_rung(rung, intermediate[rung]):
                return record(config, state="PRUNED", intermediate=intermediate)
        if config.method_spec and config.method_spec.training.learning_rate > self.out_of_memory_above:
            return record(config, state="FAIL", kind="out_of_memory")
        if self.most_rows is not None and config.method_spec is not None:
            rows = eased(config.method_spec, request.easing).training.micro_batch_size
            with self.calls.with_name("rows").open("a") as stream:
                stream.write(f"{config.phase} {name} {rows}\n")
            while self.eats and rows > self.most_rows:
                LEAKED.append(bytearray(b"x") * 2**20)
            if rows > self.most_rows:
                return record(config, state="FAIL", kind="out_of_memory")
        for names, kind in ((self.interrupted, "interrupted"), (self.diverged, "diverged")):
            if name in names:
                return record(config, state="FAIL", kind=kind)
        return record(config, value=loss, metric=self.metric, intermediate=intermediate)

    def _go_wrong(self, name: str) -> None:
        if name in self.dies:
            os.kill(os.getpid(), self.dies_of)
        if name in self.full_disk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
        if name in self.hangs:
            time.sleep(60)
        if name in self.crashes:
            raise ZeroDivisionError("nobody expected this")
        if name in self.blabs:
            secrets = {name: value for name, value in os.environ.items() if "CANARY" in value}
            told = " ".join(f"{name}={value} or {quote(value)}" for name, value in secrets.items())
            said = f"401 Unauthorized for https://me:CANARY@host/v1?token=CANARY: {told}"
            print(said, file=sys.stderr)  # noqa: T201 - as a library's retries do
            os.write(1, f"from below Python: {said}\n".encode())
            raise ConnectionError(said)
        if name in self.refuses:
            raise TaskError("gsm8k: no such task here.")


def validation_loss(config: TrialConfig, rung: int) -> float:
    return loss_of(config) * (1 + 1 / rung)


def loss_of(config: TrialConfig) -> float:
    """A parabola over the logarithm of the rate; the base model has a loss of 9."""
    if config.method_spec is None:
        return 9.0
    return 1 + (math.log10(config.method_spec.training.learning_rate) + 3) ** 2


def record(
    config: TrialConfig,
    *,
    state: str = "COMPLETE",
    kind: str | None = None,
    value: float | None = None,
    metric: str = "own/loss",
    intermediate: dict[int, float] | None = None,
) -> TrialRecord:
    """A trial's record as a worker would send it."""
    score = None if value is None else Metric(value=value, stderr=None, n=2, higher_is_better=False)
    return TrialRecord(
        config=config,
        config_fingerprint=config.fingerprint(),
        state=state,
        failure=None if kind is None else Failure(kind=kind, message=f"It ended as {kind}."),
        evaluation=None
        if score is None
        else EvalResult(metrics={metric: score}, task_versions={}, samples={}, seconds={}),
        intermediate=intermediate or {},
        started_at=datetime.now(UTC),
    )


def trained(**changes: object) -> TrainingResult:
    """What a short training came to."""
    given = {
        "optimizer_steps": 12,
        "train_loss": 1.0,
        "validation_loss": 0.5,
        "tokens": 1_000,
        "tokens_per_second": 100.0,
        "trainable_parameters": 10,
        "total_parameters": 1_000,
        "checkpoint_bytes": 4,
        "initial_sha256": "a" * 64,
        "final_sha256": "b" * 64,
        "optim": "adamw_torch",
    }
    return TrainingResult.model_validate({**given, **changes})


def toy_study(**changes: object) -> StudySpec:
    """A study of two methods over the learning rate, and over the rank where there is one."""
    training = TrainingSpec(validations=2)
    spec = StudySpec(
        name="toy",
        model=ModelSpec(model_name_or_path="toy"),
        data=DataSpec(train="rows.jsonl"),
        methods={
            "lora": MethodSpec(kind="lora", peft=PeftSpec(), training=training),
            "full": MethodSpec(kind="full", training=training),
        },
        training=training,
        search_space={
            RATE: Dimension(min=1e-5, max=1e-1, log=True),
            "methods.lora.peft.lora_r": Dimension(values=(8, 16, 32)),
        },
        evaluation=EvaluationSpec(search=(TaskSpec(task="own"),), confirm=(TaskSpec(task="own"),)),
        objective=ObjectiveSpec(minimize="own/loss"),
        budget=BudgetSpec(trials_per_method=3, confirm_seeds=1),
        pruner={"name": "none"},
    )
    return StudySpec.model_validate({**spec.model_dump(), **changes})


def build_toy(runner: ToyRunner) -> ToyRunner:
    """What a worker calls to get its runner; used with `functools.partial`."""
    return runner


def counted_toy(seconds: float, cache: Path) -> ToyRunner:
    """A runner that keeps its list of calls in the cache directory; takes the place of `TrialRunner`."""
    return ToyRunner(cache / "calls", seconds=seconds)
