"""A training that was cut off at any step goes on to the very end that it would have had."""

import json
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from interrupting import Cut, cut_at, keeper

from evals.models.load import load_model, load_tokenizer
from evals.spec import ModelSpec, QuantizationSpec
from sweep.adapters import attach
from sweep.models import load_for_training
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train
from sweep.training.state.keeper import StateKeeper

CPU = torch.device("cpu")
SETTINGS = {
    "learning_rate": 5e-3,
    "effective_batch_size": 4,
    "per_device_train_batch_size": 2,
    "num_train_epochs": 2.5,
    "weight_decay": 0.01,
    "validations": 3,
}
STEPS = 13
"""18 rows make 5 optimizer steps an epoch, the last of them of one micro-batch."""


class Rows:
    """Rows of random bytes: prompts of four tokens and completions of several lengths."""

    def dataset(self, split: str) -> Dataset:
        draw = random.Random(split)  # noqa: S311 - rows, not secrets
        count = 18 if split == "train" else 7
        rows = [[draw.randrange(3, 200) for _ in range(draw.randrange(8, 30))] for _ in range(count)]
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [[0] * 4 + [1] * (len(r) - 4) for r in rows]})


class Bench:
    """Trains one method from scratch, or on."""

    def __init__(self, model: Path, path: Path, kind: str, dtype: str, **training: object) -> None:
        quantized = kind == "qlora"
        self.spec = ModelSpec(model_name_or_path=str(model), dtype=dtype)
        self.method = MethodSpec(
            kind=kind,
            peft=None if kind == "full" else PeftSpec(lora_r=4, lora_dropout=0.1),
            load_in_4bit=quantized,
            quantization=QuantizationSpec() if quantized else None,
            training=TrainingSpec(**{**SETTINGS, **training}),
        )
        self.path = path
        self.rungs: list[int] = []

    def train(
        self, name: str, keeper: StateKeeper | None = None, *, on_progress=lambda _: None, on_rung=None
    ) -> TrainingOutcome:
        def judge(rung: int, loss: float) -> bool:
            self.rungs.append(rung)
            return False if on_rung is None else on_rung(rung, loss)

        if keeper is not None:
            keeper.load()
        base = load_for_training(self.spec, self.method, cache=self.path, device=CPU)
        return train(
            attach(base, self.method, self.spec, seed=3, load_original=partial(load_model, self.spec)),
            load_tokenizer(self.spec, cache=self.path),
            Rows(),
            self.method.training,
            seed=3,
            output=self.path / name / "checkpoint",
            steps_file=self.path / name / "steps.jsonl",
            on_rung=judge,
            on_progress=on_progress,
            deadline=None,
            keeper=keeper,
        )

    def steps(self, name: str) -> list[dict]:
        lines = [json.loads(line) for line in (self.path / name / "steps.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(one: TrainingOutcome, other: TrainingOutcome) -> bool:
    """Whether all is equal that no clock tells."""
    clocks = {"tokens_per_second"}
    return one.intermediate == other.intermediate and one.result.model_dump(exclude=clocks) == other.result.model_dump(
        exclude=clocks
    )


KINDS = {
    "lora": ("lora", "float32", {}),
    "lora bfloat16 8bit": ("lora", "bfloat16", {"optim": "adamw_8bit"}),
    "qlora": ("qlora", "float32", {"gradient_checkpointing": True}),
    "full": ("full", "float32", {"neftune_noise_alpha": 5.0, "lr_scheduler_type": "warmup_stable_decay"}),
    "full bfloat16 8bit": ("full", "bfloat16", {"optim": "adamw_8bit"}),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.replace(" ", "-"))
def test_a_training_that_is_cut_off_again_and_again_ends_as_if_it_never_had(tiny_model, tmp_path, kind) -> None:
    method, dtype, settings = KINDS[kind]
    whole = Bench(tiny_model, tmp_path, method, dtype, **settings)
    expected = whole.train("whole")
    parts = Bench(tiny_model, tmp_path, method, dtype, **settings)

    # Within the first epoch, right after its end, within the last.
    for step in (3, 6, 12):
        with pytest.raises(Cut):
            parts.train("parts", keeper(tmp_path), on_progress=cut_at(step))
    found = parts.train("parts", keeper(tmp_path))

    assert expected.result.optimizer_steps == STEPS
    assert same(found, expected)
    assert parts.steps("parts") == whole.steps("whole")
    # Nobody is judged twice at a rung.
    assert parts.rungs == whole.rungs == [1, 2, 3]
