"""Going on with a trial that was interrupted: what it was trained to, what it had taken by then, and what is useless.

A trial that is handed out again finds its training state in its directory. Where that is its own and whole, training
goes on after the last saved step, or is over already; else all that an earlier start left is removed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from sweep.config import TrialConfig
from sweep.course import Account, Course, forget_checkpoint
from sweep.progress import Progress
from sweep.spec import TrainingSpec
from sweep.stopping import Stop
from sweep.store import TrialDirectory
from sweep.training.outcome import TrainingOutcome
from sweep.training.state.file import StateUnusableError, read_values
from sweep.training.state.keeper import HEAD, TRAINED, StateKeeper, account_of, identity_of, step_of

ALONE, IN_A_LANE = "alone", "in a lane"
"""Ways to train; a state is of one of them."""


@dataclass(frozen=True, slots=True)
class Saving:
    """How trials are saved while they are trained."""

    seconds: float
    """Wall time between two saves."""
    stop: Stop
    """Asks them to save and end."""


def open_keeper(  # noqa: PLR0913
    config: TrialConfig,
    training: TrainingSpec,
    directory: TrialDirectory,
    *,
    data_sha256: Mapping[str, str],
    device: torch.device,
    way: str,
    saving: Saving,
    account: Callable[[], Account],
    on_progress: Callable[[Progress], None],
) -> StateKeeper:
    """A keeper for a trial that is trained by these settings; `way` is how, alone or in a lane."""
    return StateKeeper(
        directory.training_state,
        identity=identity_of(config, training, data_sha256=data_sha256, device=device, way=way),
        seconds=saving.seconds,
        account=lambda: account().model_dump(mode="json"),
        tell=lambda text: on_progress(Progress("load", 0, 0, None, note=text)),
        stop=saving.stop,
    )


def go_on(
    keeper: StateKeeper | None, course: Course, directory: TrialDirectory, on_progress: Callable[[Progress], None]
) -> TrainingOutcome | None:
    """Find what a trial goes on from, and what it had taken. Gives what came of its training where that had ended.

    The state of a training that had not ended stays with the keeper. Without a keeper the trial starts from scratch.
    """
    state = None if keeper is None else keeper.load()
    if keeper is None or state is None:
        start_over(course, directory)
        return None
    try:
        outcome = keeper.trained(state, directory.checkpoint, directory.steps)
        course.go_on_from(account_of(state))
    except (StateUnusableError, ValueError, KeyError) as error:
        keeper.take()
        keeper.discard(error)
        start_over(course, directory)
        return None
    if outcome is None:
        forget_checkpoint(directory)
        text = f"Training goes on after step {step_of(state)}."
    else:
        keeper.take()
        text = "It had been trained already, and is scored now."
    on_progress(Progress("load", 0, 0, None, note=text))
    return outcome


def way_of(directory: TrialDirectory) -> str | None:
    """How a trial was being trained when its state was saved; none where that is unknown or over."""
    try:
        values = read_values(directory.training_state)
        return None if TRAINED in values else str(values[HEAD]["identity"]["way"])
    except (StateUnusableError, KeyError, TypeError):
        return None


def start_over(course: Course, directory: TrialDirectory) -> None:
    """Forget what an earlier start of the trial left."""
    course.start_over()
    forget_checkpoint(directory)
    directory.steps.unlink(missing_ok=True)
    directory.training_state.unlink(missing_ok=True)
