"""Rungs, the step log, and what ends a trial."""

import json
import math
import time
from types import SimpleNamespace

import pytest
import torch

from sweep.errors import TrialError
from sweep.rungs import equal_rungs as rungs
from sweep.training.callbacks import StepLog, TrialWatch


class Toy(torch.nn.Module):
    """A model with nothing but a vocabulary, whose uniform guess has a loss of ln 100 = 4.6."""

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=100))


class Run:
    """A training run played to a TrialWatch, step by step."""

    def __init__(self, tmp_path, *, losses=(), validation=1.0, steps=8, validations=4, prune_at=None, deadline=None):
        self.path = tmp_path / "steps.jsonl"
        self.reported, self.progress = [], []
        self.log = StepLog(self.path)
        self.watch = TrialWatch(
            self.log,
            validate=lambda _: validation,
            rungs=rungs(steps, validations),
            on_rung=self._on_rung,
            on_progress=self.progress.append,
            deadline=deadline,
        )
        self.state = SimpleNamespace(max_steps=steps, global_step=0, epoch=0.0)
        self.control = SimpleNamespace(should_training_stop=False)
        self.arguments = SimpleNamespace(fp16=False)
        self.losses = losses or [2.0] * steps
        self.prune_at = prune_at

    def _on_rung(self, rung, loss) -> bool:
        self.reported.append((rung, loss))
        return rung == self.prune_at

    def play(self, grad_norm=1.0) -> None:
        self.watch.on_train_begin(self.arguments, self.state, self.control)
        with self.log:
            for loss in self.losses:
                self.state.global_step += 1
                logs = {"loss": loss, "learning_rate": 0.1, "grad_norm": grad_norm, "num_tokens": 10}
                self.watch.on_log(self.arguments, self.state, self.control, logs=logs, model=Toy())
                if self.control.should_training_stop:
                    return

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def test_each_rung_is_reported_once_with_its_index(tmp_path) -> None:
    run = Run(tmp_path, validation=1.5)

    run.play()

    assert run.reported == [(1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5)]
    assert run.watch.intermediate == {1: 1.5, 2: 1.5, 3: 1.5, 4: 1.5}
    assert not run.watch.pruned


def test_the_pruner_ends_a_trial_at_its_rung(tmp_path) -> None:
    run = Run(tmp_path, prune_at=2)

    run.play()

    assert run.watch.pruned
    assert run.state.global_step == 4


def test_the_time_of_the_loop_holds_every_validation_and_every_wait(tmp_path) -> None:
    run = Run(tmp_path, steps=1, validations=1)
    run.watch._validate = lambda _: time.sleep(0.05) or 1.0
    run.watch._on_rung = lambda *_: time.sleep(0.05) or False

    run.play()

    watch = run.watch
    assert watch.validation_seconds >= 0.05
    assert watch.waiting_seconds >= 0.05
    # The last validation follows the last step: subtracted from a clock that had stopped, it left less than nothing.
    assert watch.loop_seconds >= watch.validation_seconds + watch.waiting_seconds


def test_every_step_and_validation_is_a_line_on_disk_at_once(tmp_path) -> None:
    run = Run(tmp_path, steps=2, validations=1)

    run.play()

    first, second, validation = run.lines()
    assert set(first) == {"step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds"}
    assert (first["step"], second["step"]) == (1, 2)
    assert validation == {"step": 2, "rung": 1, "validation_loss": 1.0}


@pytest.mark.parametrize(
    ("settings", "grad_norm", "named"),
    [
        ({"losses": [2.0, math.nan]}, 1.0, "training loss at step 2 is nan"),
        ({"losses": [2.0, math.inf]}, 1.0, "training loss at step 2 is inf"),
        ({}, math.nan, "gradient's norm at step 1 is nan"),
        ({"validation": math.nan}, 1.0, "validation loss at step 2 is nan"),
        ({"validation": 6.1}, 1.0, "validation loss at step 2 is 6.1"),
    ],
)
def test_divergence_ends_a_trial_as_what_it_is_and_never_reaches_the_pruner(
    tmp_path, settings, grad_norm, named
) -> None:
    run = Run(tmp_path, **settings)

    with pytest.raises(TrialError, match=named) as ended:
        run.play(grad_norm)

    assert ended.value.kind == "diverged"
    assert run.reported == []
    json.dumps(run.lines(), allow_nan=False)


@pytest.mark.parametrize(("first", "validation"), [(1.0, 4.5), (3.0, 8.9)])
def test_overfitting_and_a_poor_start_are_not_divergence(tmp_path, first, validation) -> None:
    run = Run(tmp_path, losses=[first] * 8, validation=validation)

    run.play()

    assert len(run.reported) == 4


def test_float16_may_overflow_while_its_scale_settles(tmp_path) -> None:
    run = Run(tmp_path)
    run.arguments.fp16 = True

    run.play(grad_norm=math.inf)

    assert len(run.reported) == 4


def test_the_deadline_is_kept_after_each_step_and_within_long_ones(tmp_path) -> None:
    run = Run(tmp_path, deadline=time.monotonic() - 1)

    with pytest.raises(TrialError) as ended:
        run.play()
    assert (ended.value.kind, run.state.global_step) == ("deadline", 1)

    with pytest.raises(TrialError):
        run.watch.on_substep_end()


def test_waiting_for_the_driver_is_not_part_of_the_deadline(tmp_path) -> None:
    run = Run(tmp_path, steps=2, validations=2, deadline=time.monotonic() + 0.25)
    run.watch._on_rung = lambda *_: time.sleep(0.2) or False

    run.play()

    assert len(run.watch.intermediate) == 2


def test_progress_names_the_phase_and_the_step(tmp_path) -> None:
    run = Run(tmp_path, steps=2, validations=1)

    run.play()

    assert [(seen.phase, seen.step, seen.steps) for seen in run.progress] == [
        ("train", 0, 2),
        ("train", 1, 2),
        ("train", 2, 2),
        ("validate", 2, 2),
    ]
