"""Trials that run together on a tiny model, with a driver that says what it is told to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from evals.models.load import load_tokenizer
from evals.spec import ModelSpec, QuantizationSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary
from sweep.config import TrialConfig
from sweep.data.prepare import PreparedData, prepare
from sweep.protocol import PrepareData, RunTrial
from sweep.record import TrialRecord
from sweep.spec import DataSpec, MethodSpec, PeftSpec, TrainingSpec
from sweep.store import TrialDirectory
from sweep.together.bases import Bases
from sweep.together.wave import Wave
from sweep.trial import run_trial

CPU = torch.device("cpu")


@dataclass
class ToyFloor:
    """Says what it is told to, and remembers what it hears."""

    waiting: list[RunTrial] = field(default_factory=list)
    prune: frozenset[int] = frozenset()
    records: dict[int, TrialRecord] = field(default_factory=dict)
    offered: list[int] = field(default_factory=list)
    parts: list[tuple[int, str]] = field(default_factory=list)
    rungs: list[tuple[str, int, int]] = field(default_factory=list)
    """Losses told and rungs asked about, as they came: which of the two, place and rung."""

    def on_loss(self, place: int, rung: int, _loss: float) -> None:
        self.rungs.append(("told", place, rung))

    def on_rung(self, place: int, rung: int, _loss: float) -> bool:
        self.rungs.append(("asked", place, rung))
        return place in self.prune

    def on_progress(self, place: int, progress) -> None:
        self.parts.append((place, progress.phase))

    def finished(self, place: int, record: TrialRecord) -> None:
        assert place not in self.records
        self.records[place] = record

    def more(self, count: int) -> Sequence[RunTrial]:
        self.offered.append(count)
        given, self.waiting = self.waiting[:count], self.waiting[count:]
        return given


@dataclass
class Here:
    """A model, rows, and a directory."""

    model: ModelSpec
    prepared: PreparedData
    path: Path

    def trial(self, number: int, kind: str = "lora", *, deadline=None, tasks=None, peft=None, **training) -> RunTrial:
        settings = {"num_train_epochs": 1, "effective_batch_size": 8, "validations": 2, **training}
        config = TrialConfig(
            study="toy",
            phase="search",
            method=kind,
            number=number,
            seed=7 + number,
            model=self.model,
            data=DataSpec(train="rows.jsonl"),
            data_root="somewhere",
            method_spec=MethodSpec(
                kind=kind,
                peft=None if kind == "full" else PeftSpec(**{"lora_r": 4, "lora_dropout": 0.1, **(peft or {})}),
                load_in_4bit=kind == "qlora",
                quantization=QuantizationSpec() if kind == "qlora" else None,
                training=TrainingSpec(**{"learning_rate": 1e-3 * (number + 1), **settings}),
            ),
            max_length=64,
            split="validation",
            tasks=tasks or (TaskSpec(task="own", generate=False),),
            scoring=ScoringSpec(batch_size=4),
            deadline_seconds=deadline,
        )
        data = PrepareData(self.model, config.data, self.path, 64, self.path / "data", seed=0)
        return RunTrial(config, self.path / f"trial-{number}", data)

    def run(
        self, floor: ToyFloor, trials: Sequence[RunTrial], seats: int = 2, data_seconds: float = 0.0
    ) -> dict[int, TrialRecord]:
        wave = Wave(
            floor,
            seats=seats,
            prepared=self.prepared,
            bases=Bases(self.path / "cache"),
            device=CPU,
            library=TaskLibrary(),
            data_seconds=data_seconds,
        )
        wave.run(trials)
        return floor.records

    def alone(self, trial: RunTrial) -> TrialRecord:
        return run_trial(
            trial.config,
            TrialDirectory(self.path / "alone" / trial.directory.name),
            self.prepared,
            cache=self.path / "cache",
            device=CPU,
            on_rung=lambda *_: False,
            on_progress=lambda _: None,
        )


def make_here(tiny_model: Path, tmp_path: Path) -> Here:
    """Forty sums to learn."""
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(
        DataSpec(train="rows.jsonl", validation=0.2, test=0.1),
        load_tokenizer(model, cache=tmp_path),
        data_root=tmp_path,
        max_length=64,
        directory=tmp_path / "prepared",
        seed=0,
    )
    return Here(model, prepared, tmp_path)
