"""What is known of a trial while it runs, and how that becomes its record, whatever ends it."""

import os
import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import Field

from evals.models.memory import is_out_of_memory
from evals.result import EvalResult
from evals.spec import Spec
from sweep.config import TrialConfig
from sweep.disk import trouble
from sweep.environment import describe
from sweep.errors import TrialError
from sweep.record import DeviceUse, Failure, FailureKind, Memory, Sharing, State, TrainingResult, TrialRecord
from sweep.secrets import hide_secrets
from sweep.store import TrialDirectory, trained_tokens

RESUMABLE = frozenset({"interrupted", "disk"})
"""Ends that are none: the trial goes on from its saved state once it is handed out again."""


class Account(Spec):
    """What a trial has taken so far, kept with its training state, so that an interruption does not hide it."""

    started_at: datetime
    """When it first began, UTC."""
    resumed: int = Field(0, ge=0)
    """Times that it has gone on after an interruption."""
    intermediate: Mapping[int, float] = {}
    """Validation loss by rung."""
    seconds: Mapping[str, float] = {}
    """Seconds by part, of parts that are over."""
    seconds_total: float = 0.0
    """Seconds in all."""
    elapsed_seconds: float = 0.0
    """Wall time that it was running, whoever else had the device."""
    memory: Memory | None = None
    """Peak memory."""
    energy_joules: float | None = None
    """Energy; none where the machine does not tell."""
    steps: int = 0
    """Rounds that it was seated for among others."""
    company: int = 0
    """Trials that were seated in those rounds, added up."""


@dataclass(slots=True)
class Course:
    """What is known of a trial so far; whatever ends it, this much is recorded."""

    state: State = "COMPLETE"
    failure: Failure | None = None
    training: TrainingResult | None = None
    evaluation: EvalResult | None = None
    intermediate: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: Memory | None = None
    device: DeviceUse | None = None
    sharing: Sharing | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    earlier: Account | None = None
    """What it had taken before it was interrupted; none where it has not been."""

    def go_on_from(self, account: Mapping[str, object]) -> None:
        """The trial was interrupted, and continues from a state that this was kept with."""
        self.earlier = Account.model_validate(account)
        self.started_at = self.earlier.started_at
        self.seconds, self.intermediate = dict(self.earlier.seconds), dict(self.earlier.intermediate)

    def start_over(self) -> None:
        """Nothing is left of the trial that it could go on from."""
        self.earlier, self.started_at, self.seconds, self.intermediate = None, datetime.now(UTC), {}, {}

    @property
    def resumed(self) -> int:
        """Times that the trial has gone on after an interruption."""
        return 0 if self.earlier is None else self.earlier.resumed + 1

    @property
    def earlier_seconds(self) -> float:
        """Seconds that the trial had taken before it was interrupted."""
        return 0.0 if self.earlier is None else self.earlier.seconds_total

    @property
    def earlier_elapsed_seconds(self) -> float:
        """Wall time that the trial had been running before it was interrupted."""
        return 0.0 if self.earlier is None else self.earlier.elapsed_seconds

    def measure(self, memory: Memory, device: DeviceUse) -> None:
        """Note what this part of the trial took; what an earlier part took is added."""
        self.memory, self.device = memory, device
        if self.earlier is None:
            return
        before = self.earlier.memory
        self.memory = memory if before is None else _larger(memory, before)
        joules, earlier = device.energy_joules, self.earlier.energy_joules
        # Half of the energy is not the trial's energy.
        total = None if joules is None or earlier is None else joules + earlier
        source = None if total is None else device.energy_source
        self.device = device.model_copy(update={"energy_joules": total, "energy_source": source})

    def account(self, *, seconds_total: float, elapsed_seconds: float, steps: int = 0, company: int = 0) -> Account:
        """What the trial has taken by now: seconds since its latest start are added to those before."""
        return Account(
            started_at=self.started_at,
            resumed=self.resumed,
            intermediate=self.intermediate,
            seconds=self.seconds,
            seconds_total=self.earlier_seconds + seconds_total,
            elapsed_seconds=self.earlier_elapsed_seconds + elapsed_seconds,
            memory=self.memory,
            energy_joules=None if self.device is None else self.device.energy_joules,
            steps=steps,
            company=company,
        )

    def fail(self, error: BaseException, directory: TrialDirectory) -> None:
        """Whatever ends a trial is its result; it keeps no checkpoint, unless it may go on to be scored."""
        self.state, self.failure = "FAIL", failure_of(error)
        # A traceback holds every frame it passed, and with them the model.
        traceback.clear_frames(error.__traceback__)
        if self.failure.kind not in RESUMABLE or not directory.training_state.exists():
            forget_checkpoint(directory)

    def record(
        self,
        config: TrialConfig,
        directory: TrialDirectory,
        *,
        data_sha256: Mapping[str, str],
        seconds_total: float,
    ) -> TrialRecord:
        """The trial's record as far as a worker knows it; the objective is left to the driver.

        `seconds_total` are those since it last started.
        """
        return TrialRecord(
            config=config,
            config_fingerprint=config.fingerprint(),
            state=self.state,
            failure=self.failure,
            training=self.training,
            evaluation=self.evaluation,
            intermediate=self.intermediate,
            seconds=self.seconds,
            memory=self.memory,
            tokens=trained_tokens(directory),
            device=self.device,
            sharing=self.sharing,
            data_sha256=dict(data_sha256),
            environment=describe(),
            started_at=self.started_at,
            seconds_total=self.earlier_seconds + seconds_total,
            resumed=self.resumed,
        )


def _larger(one: Memory, other: Memory) -> Memory:
    device = [size for size in (one.device_bytes, other.device_bytes) if size is not None]
    return Memory(host_bytes=max(one.host_bytes, other.host_bytes), device_bytes=max(device, default=None))


def failure_of(error: BaseException) -> Failure:
    """What an error means for a trial."""
    kind: FailureKind = "error"
    match error:
        case TrialError():
            return Failure.model_validate({"kind": error.kind, "message": str(error), "traceback": error.trace})
        case KeyboardInterrupt():
            return Failure(kind="interrupted", message="The trial was interrupted.")
        case _ if (reason := trouble(error)) is not None:
            return Failure(kind="disk", message=reason)
        case _ if is_out_of_memory(error):
            kind = "out_of_memory"
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    trace = hide_secrets("".join(traceback.format_exception(error)), os.environ) if kind == "error" else None
    return Failure(kind=kind, message=hide_secrets(message, os.environ), traceback=trace)


def forget_checkpoint(directory: TrialDirectory) -> None:
    """A trial that did not complete keeps no checkpoint, nor one of an earlier attempt."""
    shutil.rmtree(directory.checkpoint, ignore_errors=True)
