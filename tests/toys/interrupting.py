"""Trainings that are cut off in the middle and gone on with."""

from collections.abc import Callable
from pathlib import Path

from sweep.record import TrialRecord
from sweep.stopping import Stop
from sweep.training.state.keeper import StateKeeper


class Cut(BaseException):
    """What a kill looks like from inside: nobody catches it."""


def keeper(path: Path, *, seconds: float = 0.0, stop: Stop | None = None, **changes: object) -> StateKeeper:
    """A keeper that saves after every step, of toy work."""
    settings = {"identity": {"config": "toy"}, "account": dict, "tell": lambda _: None, "share": 0, **changes}
    return StateKeeper(path / "training-state.safetensors", seconds=seconds, stop=stop, **settings)


def cut_at(step: int) -> Callable[[object], None]:
    """A progress callback that ends everything when a step is reached, before it is saved."""

    def on_progress(progress) -> None:
        if progress.phase == "train" and progress.step == step:
            raise Cut

    return on_progress


def found_out(record: TrialRecord) -> dict[str, object]:
    """All that a trial found out, but for what a clock told."""
    assert record.training is not None, record.failure
    assert record.evaluation is not None
    return {
        "state": record.state,
        "intermediate": dict(record.intermediate),
        "tokens": record.tokens,
        "training": record.training.model_dump(exclude={"tokens_per_second"}),
        "scores": {name: metric.value for name, metric in record.evaluation.metrics.items()},
    }
