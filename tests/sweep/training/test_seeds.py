"""What a seed decides, and that all methods decide it alike: the start, the order of rows, dropout."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from evals.models.load import load_model, load_tokenizer
from evals.spec import ModelSpec
from sweep.adapters import attach
from sweep.models import load_for_training
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.training import solo
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train

CPU = torch.device("cpu")
SETTINGS = TrainingSpec(effective_batch_size=4, per_device_train_batch_size=2, num_train_epochs=2, validations=2)


class NumberedRows:
    """Rows that can be told by their first token."""

    def dataset(self, split: str) -> Dataset:
        rows = [[10 + number] * 6 for number in range(16 if split == "train" else 2)]
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [[0, 0, 1, 1, 1, 1]] * len(rows)})


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows in the order in which they are put into batches, those of validations left out."""
    seen: list[int] = []

    class Watching(solo.DataCollatorForLanguageModeling):
        def __call__(self, examples: list[dict], *arguments: object, **settings: object) -> dict:
            seen.extend(int(example["input_ids"][0]) - 10 for example in examples)
            return super().__call__(examples, *arguments, **settings)

    monkeypatch.setattr(solo, "DataCollatorForLanguageModeling", Watching)
    monkeypatch.setattr(solo, "_validation", lambda *_: None)
    return seen


def run(tiny_model: Path, directory: Path, kind: str, seed: int, dropout: float = 0.0) -> TrainingOutcome:
    spec = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    peft = None if kind == "full" else PeftSpec(lora_r=4, lora_dropout=dropout)
    method = MethodSpec(kind=kind, peft=peft, training=SETTINGS)
    base = load_for_training(spec, method, cache=directory, device=CPU)
    return train(
        attach(base, method, spec, seed=seed, load_original=partial(load_model, spec)),
        load_tokenizer(spec, cache=directory),
        NumberedRows(),
        SETTINGS,
        seed=seed,
        output=directory / f"{kind}-{seed}-{dropout}" / "checkpoint",
        steps_file=directory / f"{kind}-{seed}-{dropout}" / "steps.jsonl",
        on_rung=lambda *_: False,
        on_progress=lambda _: None,
        deadline=None,
    )


def test_a_seed_decides_the_start_and_the_order_and_methods_share_both(
    tiny_model: Path, tmp_path: Path, order: list[int]
) -> None:
    orders, starts = {}, {}
    for kind in ("lora", "qlora", "full"):
        for seed in (1001, 1002):
            order.clear()
            starts[kind, seed] = run(tiny_model, tmp_path, kind, seed).result.initial_sha256
            orders[kind, seed] = tuple(order)

    for seed in (1001, 1002):
        assert orders["lora", seed] == orders["qlora", seed] == orders["full", seed]
        # Each epoch reads every row once, in an order of its own.
        first, second = orders["lora", seed][:16], orders["lora", seed][16:]
        assert sorted(first) == sorted(second) == list(range(16))
        assert first != second
        assert starts["lora", seed] == starts["qlora", seed]
    assert orders["lora", 1001] != orders["lora", 1002]
    assert starts["lora", 1001] != starts["lora", 1002]
    # Full fine-tuning starts from the base model, whatever the seed.
    assert starts["full", 1001] == starts["full", 1002]


def test_dropout_changes_the_losses_and_nothing_that_comes_before_them(
    tiny_model: Path, tmp_path: Path, order: list[int]
) -> None:
    plain = run(tiny_model, tmp_path, "lora", 1001).result
    order_without = tuple(order)
    order.clear()
    dropped = run(tiny_model, tmp_path, "lora", 1001, dropout=0.5).result

    assert plain.initial_sha256 == dropped.initial_sha256
    assert tuple(order) == order_without
    assert plain.final_sha256 != dropped.final_sha256
    again = run(tiny_model, tmp_path, "lora", 1001, dropout=0.5).result
    assert again.final_sha256 == dropped.final_sha256


def test_train_and_validation_loss_are_told_at_the_same_steps(tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, tmp_path, "lora", 7)

    lines = [json.loads(line) for line in (tmp_path / "lora-7-0.0" / "steps.jsonl").read_text().splitlines()]
    validated = {line["step"] for line in lines if "validation_loss" in line}
    trained = {line["step"] for line in lines if "loss" in line}
    assert validated == {4, 8}
    assert validated <= trained


def test_operations_are_estimated_from_what_was_recorded(tiny_model: Path, tmp_path: Path) -> None:
    full, lora = (run(tiny_model, tmp_path, kind, 7).result for kind in ("full", "lora"))

    # 6 a parameter and token where all are trained, as in arXiv 2001.08361.
    assert full.estimated_flops == pytest.approx(6.0 * full.total_parameters * full.tokens)
    assert 4.0 < lora.estimated_flops / (lora.total_parameters * lora.tokens) < 6.0
