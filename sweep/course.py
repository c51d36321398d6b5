"""What is known of a trial while it runs, and how that becomes its record, whatever ends it."""

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evals.result import EvalResult
from sweep.config import TrialConfig
from sweep.environment import describe
from sweep.errors import TrialError
from sweep.models import is_out_of_memory
from sweep.record import DeviceUse, Failure, FailureKind, Memory, Sharing, State, TrainingResult, TrialRecord
from sweep.store import TrialDirectory, trained_tokens


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

    def fail(self, error: BaseException, directory: TrialDirectory) -> None:
        """Whatever ends a trial is its result; it keeps no checkpoint."""
        self.state, self.failure = "FAIL", failure_of(error)
        # A traceback holds every frame it passed, and with them the model.
        traceback.clear_frames(error.__traceback__)
        forget_checkpoint(directory)

    def record(
        self,
        config: TrialConfig,
        directory: TrialDirectory,
        *,
        data_sha256: Mapping[str, str],
        seconds_total: float,
    ) -> TrialRecord:
        """The trial's record as far as a worker knows it; the objective is left to the driver."""
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
            seconds_total=seconds_total,
        )


def failure_of(error: BaseException) -> Failure:
    """What an error means for a trial."""
    kind: FailureKind = "error"
    match error:
        case TrialError():
            return Failure.model_validate({"kind": error.kind, "message": str(error)})
        case KeyboardInterrupt():
            return Failure(kind="interrupted", message="The trial was interrupted.")
        case _ if is_out_of_memory(error):
            kind = "out_of_memory"
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    trace = "".join(traceback.format_exception(error)) if kind == "error" else None
    return Failure(kind=kind, message=message, traceback=trace)


def forget_checkpoint(directory: TrialDirectory) -> None:
    """A trial that did not complete keeps no checkpoint, nor one of an earlier attempt."""
    shutil.rmtree(directory.checkpoint, ignore_errors=True)
