"""Memory ends for real in the middle of a trial: that is said, all is given back, and with less it is the same."""

import json
from pathlib import Path

import pytest
import torch
from scarce import MEBIBYTE, at_most
from wave_bench import Here

from evals.models.load import load_tokenizer
from evals.spec import ModelSpec
from sweep.data.prepare import prepare
from sweep.easing import Easing
from sweep.protocol import RunTrial
from sweep.record import TrialRecord
from sweep.spec import DataSpec
from sweep.store import TrialDirectory
from sweep.trial import run_trial

SPARE = 160 * MEBIBYTE
"""Twice what a trial takes that reads one row at a time, and less than half of what five rows take."""
STEP = {"effective_batch_size": 5, "per_device_train_batch_size": 5, "max_length": 768, "max_steps": 2}


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path) -> Here:
    """Forty rows of five hundred characters."""
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    rows = [{"prompt": f"{number} + 1 =", "completion": (" " + str(number + 1) * 250)[:500]} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(
        DataSpec(train="rows.jsonl", validation=0.2, test=0.1),
        load_tokenizer(model, cache=tmp_path),
        data_root=tmp_path,
        max_length=768,
        directory=tmp_path / "prepared",
        seed=0,
    )
    return Here(model, prepared, tmp_path)


def ended(here: Here, trial: RunTrial, name: str, easing: Easing | None = None) -> TrialRecord:
    return run_trial(
        trial.config,
        TrialDirectory(here.path / name),
        here.prepared,
        cache=here.path / "cache",
        device=torch.device("cpu"),
        on_rung=lambda *_: False,
        on_progress=lambda _: None,
        easing=easing,
    )


def test_a_trial_that_memory_ends_in_is_the_same_with_fewer_rows_at_a_time(here: Here) -> None:
    trial = here.trial(0, peft={"lora_dropout": 0.0}, **STEP)
    free = ended(here, trial, "free")

    with at_most(SPARE):
        refused = ended(here, trial, "refused")
        eased = ended(here, trial, "eased", Easing(lanes=1, micro_batch_size=1))

    assert refused.failure is not None
    assert refused.failure.kind == "out_of_memory"
    assert "allocate" in refused.failure.message
    assert not TrialDirectory(here.path / "refused").checkpoint.exists()
    assert (free.state, eased.state) == ("COMPLETE", "COMPLETE")
    assert eased.config == free.config
    assert eased.training is not None
    assert free.training is not None
    assert eased.training.optimizer_steps == free.training.optimizer_steps == 2
    assert eased.training.initial_sha256 == free.training.initial_sha256
    assert eased.training.train_loss == pytest.approx(free.training.train_loss, rel=1e-5)
    loss = "own/loss"
    assert eased.evaluation is not None
    assert free.evaluation is not None
    assert eased.evaluation.metrics[loss].value == pytest.approx(free.evaluation.metrics[loss].value, rel=1e-5)
