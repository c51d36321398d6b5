"""The error tree of studies, below the root in `evals.errors`.

InputError
├── StudyFileError         the study file: every problem at once, each with its file and line
├── DataError              the user's data: which rows, why, and what the limit is
├── RunDirectoryError      a run directory that is missing, foreign, or in use by another driver
└── MachineError           this machine cannot do what the study asks
RunError
├── WorkerDiedError        a worker process ended without an answer
├── TrialError             a trial ended early; `kind` says as what
├── StudyFailedError       no method reached a result
├── StorageLostError       Optuna's storage stayed away, or came back without what it knew
├── ClusterLostError       no machine of a cluster has been left for a long time
├── OutputError            nobody reads what is printed, or there is no room for it
└── DiskError              the run directory's disk is full, read-only or gone
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.errors import InputError, ModelError, RunError, TaskError, ToolError

__all__ = [
    "INPUT_ERRORS",
    "ClusterLostError",
    "DataError",
    "DiskError",
    "InputError",
    "MachineError",
    "ModelError",
    "OutputError",
    "Problem",
    "RunDirectoryError",
    "RunError",
    "StorageLostError",
    "StudyFailedError",
    "StudyFileError",
    "TaskError",
    "ToolError",
    "TrialError",
    "WorkerDiedError",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file: where, and a sentence that ends with a period."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line is not None else f"{self.path}"
        return f"{place}: {self.message}"


class StudyFileError(InputError):
    """The study file cannot be run; `problems` holds every reason that could be found at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(InputError):
    """The user's data cannot be used; the message names rows and reasons."""


class RunDirectoryError(InputError):
    """A run directory is missing, belongs to another study, or is in use."""


class MachineError(InputError):
    """This machine cannot do what the study asks."""


class WorkerDiedError(RunError):
    """A worker process ended without an answer."""


class StudyFailedError(RunError):
    """A study ended without a result for any method."""


class OutputError(RunError):
    """What a command prints cannot be written."""


class DiskError(RunError):
    """The run directory cannot be written any more; what ended is on disk, and the study can be gone on with."""


class StorageLostError(RunError):
    """Optuna's storage cannot be used any more; what ended is on disk, and the study can be gone on with."""


class ClusterLostError(RunError):
    """No machine is left to run trials on; what ended is on disk, and the study can be gone on with."""


class TrialError(RunError):
    """A trial ended before it was trained and scored; `kind` is one of `sweep.record.FailureKind`.

    `trace` says where, for a bug in a process of the trial's own.
    """

    def __init__(self, kind: str, message: str, trace: str | None = None) -> None:
        self.kind = kind
        self.trace = trace
        super().__init__(message)


INPUT_ERRORS: Mapping[str, type[InputError]] = {
    error.__name__: error for error in (DataError, InputError, MachineError, ModelError, RunDirectoryError, TaskError)
}
"""What another process may say of the user's input, by name."""
