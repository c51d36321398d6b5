"""Tiny trials over several processes: configs, rows, runs, and what they leave."""

import json
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from evals.models.load import load_tokenizer
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep.config import TrialConfig
from sweep.data.prepare import PreparedData, prepare
from sweep.record import TrialRecord
from sweep.spec import DataSpec, MethodSpec, PeftSpec, TrainingSpec
from sweep.store import TrialDirectory
from sweep.trial import run_trial

CPU = torch.device("cpu")
SETTINGS = {"num_train_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3, "validations": 2}


def prepare_sums(model: ModelSpec, root: Path, *, repeat: int = 1) -> PreparedData:
    """Forty sums, 29 of them to train on, which no batch divides; the answer is written so many times."""
    made = [{"prompt": f"{number} + 1 =", "completion": repeat * f" {number + 1}"} for number in range(40)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return prepare(
        DataSpec(train="rows.jsonl", validation=0.175, test=0.1),
        load_tokenizer(model, cache=root),
        data_root=root,
        max_length=1024,
        directory=root / "prepared",
        seed=0,
    )


def describe(model: ModelSpec, kind: str, processes: int, **training: object) -> TrialConfig:
    """A trial over so many processes."""
    peft = training.pop("peft", {})
    method = MethodSpec(
        kind=kind,
        peft=None if kind == "full" else PeftSpec(**{"lora_r": 4, **peft}),
        training=TrainingSpec(**{**SETTINGS, "num_processes": processes, **training}),
    )
    return TrialConfig(
        study="toy",
        phase="search",
        method=kind,
        number=0,
        seed=7,
        model=model,
        data=DataSpec(train="rows.jsonl"),
        data_root="somewhere",
        method_spec=method,
        max_length=1024,
        split="validation",
        tasks=(TaskSpec(task="own", generate=False),),
        scoring=ScoringSpec(batch_size=4),
    )


def run(config, prepared, path, *, device=CPU, on_rung=None, on_progress=None, **more) -> TrialRecord:
    """Run it in this process, or in children of it."""
    return run_trial(
        config,
        TrialDirectory(path),
        prepared,
        cache=path / "cache",
        device=device,
        on_rung=on_rung or (lambda *_: False),
        on_progress=on_progress or (lambda _: None),
        **more,
    )


def read_steps(path: Path) -> list[dict]:
    """Everything that was written down while it trained."""
    return [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights that it saved."""
    (file,) = (path / "checkpoint").glob("*.safetensors")
    return load_file(file)


def members(worker: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes that train for a worker, this one unless another is named, in their order."""
    children = (worker or psutil.Process()).children()
    return sorted((child for child in children if _is_member(child)), key=lambda child: child.pid)


def _is_member(child: psutil.Process) -> bool:
    try:
        return "--multiprocessing-fork" in child.cmdline()
    except psutil.Error:
        return False
