"""Keeps one trial's training state on disk: when it is saved, whose it is, and whether it can be gone on from.

A state is only ever used for the work that it is of: the same config, rows, settings, device kind and versions. All
else is thrown away with a word about it, and the trial starts from scratch. The steps written down so far are in the
same file, so that what is read back is of one moment.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sweep.config import TrialConfig
from sweep.record import TrainingResult
from sweep.spec import TrainingSpec
from sweep.stopping import Stop
from sweep.training.outcome import TrainingOutcome
from sweep.training.state.file import StateUnusableError, TrainingState, read_state, write_state
from sweep.training.state.parts import joined, part

PACKAGES = ("finetune-sweep", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "numpy")
"""What decides, in another version, how a training goes on."""
SHARE = 20
"""A save may take one part of so many of the time between two of them; where it takes longer, saves are fewer."""
HEAD, STEPS, TRAINED = "head", "steps", "trained"


class StateKeeper:
    """Saves and finds the training state of one trial."""

    def __init__(  # noqa: PLR0913
        self,
        path: Path,
        *,
        identity: Mapping[str, Any],
        seconds: float,
        account: Callable[[], Mapping[str, Any]],
        tell: Callable[[str], None],
        stop: Stop | None = None,
        share: int = SHARE,
    ) -> None:
        """`seconds` of wall time lie between two saves; `account` says what the trial has taken so far, as JSON has it.

        `tell` is given a sentence for whoever runs the study.
        """
        self.stop = stop or Stop()
        self.is_ending = False
        """Whether the training is nearly over, so that it is not interrupted any more."""
        self._path = path
        self._identity = dict(identity)
        self._seconds = seconds
        self._share = share
        self._account = account
        self._tell = tell
        self._due = time.monotonic() + seconds
        self._saved: TrainingState | None = None

    @property
    def must_stop(self) -> bool:
        """Whether the training is to save its state and end in KeyboardInterrupt."""
        return self.stop.is_asked and not self.is_ending

    @property
    def is_due(self) -> bool:
        """Whether to save at the next opportunity."""
        return time.monotonic() >= self._due

    def load(self) -> TrainingState | None:
        """The state that was saved, which `take` will give too; none where there is none to go on from."""
        self._saved = self._read() if self._path.exists() else None
        return self._saved

    def take(self) -> TrainingState | None:
        """What `load` found, once: it is as large as all that is trained."""
        saved, self._saved = self._saved, None
        return saved

    def _read(self) -> TrainingState | None:
        try:
            state = read_state(self._path)
            # What has been trained is scored the same, whichever way it was trained.
            free = {"way"} if TRAINED in state.values else set()
            _refuse_other(part(state, HEAD).values["identity"], self._identity, free)
        except (StateUnusableError, KeyError, TypeError) as error:
            self.discard(error)
            return None
        return state

    def discard(self, error: Exception) -> None:
        """Throw a state away that is of no use."""
        self._path.unlink(missing_ok=True)
        self._tell(f"The saved training state was thrown away, and training starts from scratch: {error}.")

    def save(self, parts: Mapping[str, TrainingState], *, step: int, steps: bytes) -> None:
        """Save a state in place of the last one. A disk without room costs the state and not the trial."""
        began = time.monotonic()
        head = {"identity": self._identity, "account": dict(self._account()), "step": step}
        log = torch.frombuffer(bytearray(steps), dtype=torch.uint8) if steps else torch.empty(0, dtype=torch.uint8)
        try:
            write_state(self._path, joined({**parts, HEAD: TrainingState({STEPS: log}, head)}))
        except OSError as error:
            self._tell(
                f"The training state could not be saved, and an interruption would cost what was trained: {error}."
            )
        ended = time.monotonic()
        self._due = ended + max(self._seconds, self._share * (ended - began))

    def finish(self, outcome: TrainingOutcome, checkpoint: Path, steps: Path) -> None:
        """The trial has been trained, and what came of it is saved; what is left is to score it."""
        trained = {
            "result": outcome.result.model_dump(mode="json"),
            "intermediate": _pairs(outcome.intermediate),
            "seconds": outcome.seconds,
            "files": file_sha256(checkpoint),
        }
        step = outcome.result.optimizer_steps
        self.save({TRAINED: TrainingState({}, trained)}, step=step, steps=steps.read_bytes())

    def trained(self, state: TrainingState, checkpoint: Path, steps: Path) -> TrainingOutcome | None:
        """What came of a training that had ended; none where it had not. Raises StateUnusableError where it is lost."""
        if TRAINED not in state.values:
            return None
        trained = part(state, TRAINED).values
        if file_sha256(checkpoint) != trained["files"]:
            raise StateUnusableError("what had been trained is not what was saved")
        steps.write_bytes(steps_of(state))
        return TrainingOutcome(
            result=TrainingResult.model_validate(trained["result"]),
            pruned=False,
            intermediate=rungs_of(trained),
            seconds=dict(trained["seconds"]),
        )


def account_of(state: TrainingState) -> Mapping[str, Any]:
    """What the trial had taken when the state was saved."""
    account: Mapping[str, Any] = part(state, HEAD).values["account"]
    return account


def step_of(state: TrainingState) -> int:
    """Optimizer steps that had been taken."""
    return int(part(state, HEAD).values["step"])


def steps_of(state: TrainingState) -> bytes:
    """The contents of `steps.jsonl` at that moment."""
    return part(state, HEAD).tensors[STEPS].numpy().tobytes()


def rungs_of(values: Mapping[str, Any]) -> dict[int, float]:
    """Validation losses by rung, which JSON has by text."""
    return {int(rung): float(loss) for rung, loss in values["intermediate"].items()}


def _pairs(intermediate: Mapping[int, float]) -> dict[str, float]:
    return {str(rung): loss for rung, loss in intermediate.items()}


def identity_of(
    config: TrialConfig,
    training: TrainingSpec,
    *,
    data_sha256: Mapping[str, str],
    device: torch.device,
    way: str,
) -> dict[str, Any]:
    """Whose a state is. `training` are the settings that are trained by; `way` is how, alone or in a lane."""
    return {
        "config": config.fingerprint(),
        "settings": hashlib.sha256(training.model_dump_json().encode()).hexdigest(),
        "data": dict(data_sha256),
        "device": device.type,
        "way": way,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _refuse_other(saved: Mapping[str, Any], wanted: Mapping[str, Any], free: set[str]) -> None:
    others = [name for name in wanted if name not in free and saved.get(name) != wanted[name]]
    if others:
        raise StateUnusableError(f"it is of other work (another {', another '.join(others)})")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def file_sha256(directory: Path) -> dict[str, str]:
    """Checksums of all files below a directory, by their paths in it."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                found[path.relative_to(directory).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
