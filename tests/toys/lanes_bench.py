"""Trials in lanes beside the same trials alone, by TRL."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file

from evals.models.load import load_tokenizer
from evals.spec import ModelSpec, QuantizationSpec
from sweep.adapters import attach
from sweep.models import load_for_training
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.training.lanes.ends import LaneEnd
from sweep.training.lanes.engine import Lanes
from sweep.training.lanes.lane import LaneJob
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train

CPU = torch.device("cpu")


class ToyData:
    """Rows of random bytes: prompts of four tokens and completions of several lengths."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes

    def dataset(self, split: str) -> Dataset:
        draw = random.Random(split)  # noqa: S311 - rows, not secrets
        rows = [[draw.randrange(3, 200) for _ in range(draw.randrange(8, 30))] for _ in range(self._sizes[split])]
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [[0] * 4 + [1] * (len(r) - 4) for r in rows]})


@dataclass(frozen=True)
class Trial:
    """One trial of the bench."""

    method: MethodSpec
    seed: int = 3
    prune_at: int | None = None


@dataclass
class Bench:
    """A model, rows, and both ways to train on them."""

    model: ModelSpec
    path: Path
    data: ToyData
    device: torch.device = CPU

    def base(self, method: MethodSpec):
        return load_for_training(self.model, method, cache=self.path, device=self.device)

    def alone(self, trial: Trial, name: str) -> TrainingOutcome:
        trainee = attach(self.base(trial.method), trial.method, self.model, seed=trial.seed, load_original=lambda: None)
        return train(
            trainee,
            load_tokenizer(self.model, cache=self.path),
            self.data,
            trial.method.training,
            seed=trial.seed,
            output=self.path / name / "checkpoint",
            steps_file=self.path / name / "steps.jsonl",
            on_rung=lambda rung, _: rung == trial.prune_at,
            on_progress=lambda _: None,
            deadline=None,
        )

    def lanes(self, method: MethodSpec, width: int | None = None, base=None) -> Lanes:
        tokenizer = load_tokenizer(self.model, cache=self.path)
        return Lanes(base or self.base(method), tokenizer, self.data, model=self.model, device=self.device, width=width)

    def job(self, trial: Trial, name: str, **changes: object) -> LaneJob:
        given = {
            "on_rung": lambda rung, _: rung == trial.prune_at,
            "on_loss": lambda *_: None,
            "on_progress": lambda _: None,
            "deadline": None,
            **changes,
        }
        directory = self.path / name
        return LaneJob(trial.method, trial.seed, directory / "checkpoint", directory / "steps.jsonl", **given)

    def together(self, trials: dict[str, Trial], width: int | None = None) -> dict[str, LaneEnd]:
        lanes = self.lanes(next(iter(trials.values())).method, width)
        names = {lanes.seat(self.job(trial, name)): name for name, trial in trials.items()}
        ends = drain(lanes)
        lanes.close()
        return {names[end.lane]: end for end in ends}

    def steps(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.path / name / "steps.jsonl").read_text().splitlines()]

    def losses(self, name: str) -> list[float]:
        return [line["loss"] for line in self.steps(name) if "loss" in line]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.path / name / "checkpoint" / "adapter_model.safetensors")


def drain(lanes: Lanes) -> list[LaneEnd]:
    ends = []
    while lanes.seated:
        ends += lanes.step()
    return ends


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of two adapters, relative to the size of the second."""
    assert one.keys() == other.keys()
    apart = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    size = sum(float(other[name].double().square().sum()) for name in other)
    return (apart / size) ** 0.5


def lora(*, peft: dict | None = None, quantized: bool = False, **training: object) -> MethodSpec:
    settings = {
        "learning_rate": 5e-3,
        "effective_batch_size": 4,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1.5,
        "validations": 2,
        **training,
    }
    return MethodSpec(
        kind="qlora" if quantized else "lora",
        peft=PeftSpec(**{"lora_r": 4, "lora_alpha": 8, **(peft or {})}),
        load_in_4bit=quantized,
        quantization=QuantizationSpec() if quantized else None,
        training=TrainingSpec(**settings),
    )


DROPPING = Trial(lora(peft={"lora_dropout": 0.2}), seed=5)
OTHERS = {
    "one": Trial(lora(peft={"lora_r": 8}, num_train_epochs=3.0), seed=6),
    "two": Trial(lora(peft={"lora_dropout": 0.5}, per_device_train_batch_size=4), seed=7),
}
