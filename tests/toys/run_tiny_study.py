"""Run a study on a tiny, real model in a process of its own: `run_tiny_study.py MODEL ROOT SAVE_SECONDS [ADDRESS]`.

With the address of a Ray cluster its trials run there, and what the driver says is printed.
"""

import json
import signal
import sys
from functools import partial
from pathlib import Path

from evals.spec import ModelSpec, TaskSpec
from sweep.events import Event, Notice
from sweep.pool.choice import choose_workers
from sweep.spec import (
    BudgetSpec,
    DataSpec,
    EvaluationSpec,
    MethodSpec,
    ObjectiveSpec,
    PeftSpec,
    StudySpec,
    TrainingSpec,
)
from sweep.store import RunDirectory
from sweep.study.phases import run_study
from sweep.worker import TrialRunner

STEPS = 150


def tiny_study(model: Path, save_seconds: float) -> StudySpec:
    training = TrainingSpec(effective_batch_size=8, validations=3, max_steps=STEPS, learning_rate=1e-3)
    own = (TaskSpec(task="own", generate=False),)
    return StudySpec(
        name="tiny",
        model=ModelSpec(model_name_or_path=str(model), dtype="float32"),
        data=DataSpec(train="rows.jsonl", validation=0.2, test=0.1),
        methods={
            "lora": MethodSpec(kind="lora", peft=PeftSpec(lora_r=4, lora_dropout=0.1), training=training),
            "full": MethodSpec(kind="full", training=training),
        },
        training=training,
        search_space={"training.learning_rate": {"values": [1e-3, 2e-3]}},
        evaluation=EvaluationSpec(search=own, confirm=own, general_text=False, noise_floor=False),
        objective=ObjectiveSpec(minimize="own/loss"),
        budget=BudgetSpec(trials_per_method=1, confirm_seeds=0),
        sampler={"name": "random"},
        pruner={"name": "none"},
        save_seconds=save_seconds,
    )


def tell(event: Event) -> None:
    if isinstance(event, Notice):
        print(event.message, flush=True)  # noqa: T201 - for whoever started it


def main(model: str, root: str, save_seconds: str, address: str = "") -> None:
    here = Path(root)
    rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = tiny_study(Path(model), float(save_seconds))
    runner = partial(TrialRunner, here / "cache")
    try:
        run_study(
            spec,
            run=RunDirectory(here / "run"),
            data_root=here,
            cache=here / "cache",
            on_event=tell,
            workers=choose_workers("ray" if address else "local", runner, spec, here, (), address),
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # A shell that starts this in the background has it ignore Ctrl-C, which is what is to be tried.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
