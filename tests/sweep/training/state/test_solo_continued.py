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
from sweep.stopping import Stop
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train
from sweep.training.state.file import read_state
from sweep.training.state.keeper import StateKeeper, step_of
from sweep.training.trainer import SoloTrainer

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
        self.starts: list[int] = []
        """The step that each training began after."""

    def train(
        self, name: str, keeper: StateKeeper | None = None, *, on_progress=lambda _: None, on_rung=None
    ) -> TrainingOutcome:
        def judge(rung: int, loss: float) -> bool:
            self.rungs.append(rung)
            return False if on_rung is None else on_rung(rung, loss)

        begun = len(self.starts)

        def watch(progress) -> None:
            if progress.phase == "train" and len(self.starts) == begun:
                self.starts.append(progress.step)
            on_progress(progress)

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
            on_progress=watch,
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

    assert parts.starts == [0, 2, 5, 11]
    assert expected.result.optimizer_steps == STEPS
    assert same(found, expected)
    assert parts.steps("parts") == whole.steps("whole")
    # Nobody is judged twice at a rung.
    assert parts.rungs == whole.rungs == [1, 2, 3]


def test_saving_changes_nothing_about_training(tiny_model, tmp_path) -> None:
    bench = Bench(tiny_model, tmp_path, "lora", "float32")

    assert same(bench.train("saved", keeper(tmp_path)), bench.train("unsaved"))


def test_a_training_that_is_told_to_stop_within_a_step_saves_the_one_before(tiny_model, tmp_path, monkeypatch) -> None:
    bench = Bench(tiny_model, tmp_path, "lora", "float32")
    expected = bench.train("whole")
    stop, passes, step = Stop(), [], SoloTrainer.training_step

    def counted(self, *arguments):
        passes.append(1)
        if len(passes) == 7:
            stop.ask()
        return step(self, *arguments)

    monkeypatch.setattr(SoloTrainer, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        bench.train("parts", keeper(tmp_path, seconds=1e6, stop=stop))
    found = bench.train("parts", keeper(tmp_path))

    # Two passes are a step: the seventh is the first of the fourth step.
    assert bench.starts == [0, 0, 3]
    assert same(found, expected)
    assert bench.steps("parts") == bench.steps("whole")


def test_a_training_that_is_told_to_stop_before_its_first_step_saves_nothing(tiny_model, tmp_path) -> None:
    bench, stop = Bench(tiny_model, tmp_path, "lora", "float32"), Stop()
    stop.ask()

    with pytest.raises(KeyboardInterrupt):
        bench.train("parts", keeper(tmp_path, stop=stop))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts"]


def test_a_training_that_is_stopped_while_it_validates_takes_that_rung_when_it_goes_on(tiny_model, tmp_path) -> None:
    bench, stop = Bench(tiny_model, tmp_path, "lora", "float32"), Stop()
    expected = bench.train("whole")
    rung_step = next(line["step"] for line in bench.steps("whole") if line.get("rung") == 2)

    def ask(progress) -> None:
        if progress.phase == "train" and progress.step == rung_step:
            stop.ask()

    with pytest.raises(KeyboardInterrupt):
        bench.train("parts", keeper(tmp_path, stop=stop), on_progress=ask)
    found = bench.train("parts", keeper(tmp_path))

    assert bench.starts == [0, 0, rung_step]
    assert bench.rungs == [1, 2, 3, 1, 2, 3]
    assert same(found, expected)
    assert bench.steps("parts") == bench.steps("whole")


@pytest.mark.parametrize("prunes", [False, True])
def test_a_training_that_is_stopped_before_it_was_judged_is_judged_when_it_goes_on(
    tiny_model, tmp_path, prunes
) -> None:
    bench = Bench(tiny_model, tmp_path, "lora", "float32")
    expected = bench.train("whole", on_rung=lambda rung, _: prunes and rung == 2)

    def interrupt(rung: int, _loss: float) -> bool:
        if rung == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        bench.train("parts", keeper(tmp_path, seconds=1e6), on_rung=interrupt)
    found = bench.train("parts", keeper(tmp_path), on_rung=lambda rung, _: prunes and rung == 2)

    assert found.pruned == prunes
    assert same(found, expected)
    assert bench.steps("parts") == bench.steps("whole")
    assert (tmp_path / "parts" / "checkpoint").exists() != prunes


def test_a_training_that_is_stopped_at_its_end_ends(tiny_model, tmp_path) -> None:
    bench, stop = Bench(tiny_model, tmp_path, "lora", "float32"), Stop()
    expected = bench.train("whole")

    def ask(progress) -> None:
        if progress.phase == "train" and progress.step == STEPS:
            stop.ask()

    def interrupt(rung: int, _loss: float) -> bool:
        if rung == 3:
            raise KeyboardInterrupt
        return False

    found = bench.train("stopped", keeper(tmp_path, stop=stop), on_progress=ask, on_rung=interrupt)

    assert same(found, expected)


def test_a_state_is_saved_no_more_often_than_asked_and_only_one_is_kept(tiny_model, tmp_path) -> None:
    bench = Bench(tiny_model, tmp_path, "lora", "float32", max_steps=4)

    bench.train("rarely", keeper(tmp_path / "rarely", seconds=1e6))
    bench.train("often", keeper(tmp_path / "often"))

    assert not list((tmp_path / "rarely").glob("*state*"))
    assert [path.name for path in (tmp_path / "often").glob("*state*")] == ["training-state.safetensors"]
    # After the last step there is nothing to go on with.
    assert step_of(read_state(tmp_path / "often" / "training-state.safetensors")) == 3
