"""Training one trial, by training."""

import json
import random
import time
from functools import partial

import pytest
import torch
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from trl import SFTConfig, SFTTrainer

from evals.models.load import load_model, load_tokenizer
from evals.spec import ModelSpec
from sweep.adapters import Trainee, attach
from sweep.errors import TrialError
from sweep.models import load_for_training, trainable_weights, weights_sha256
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec
from sweep.training.arguments import sft_config
from sweep.training.outcome import TrainingOutcome
from sweep.training.solo import train

CPU = torch.device("cpu")
SETTINGS = {
    "learning_rate": 5e-3,
    "effective_batch_size": 4,
    "per_device_train_batch_size": 2,
    "num_train_epochs": 1.5,
    "weight_decay": 0.01,
}


class ToyData:
    """Rows of random bytes: prompts of four tokens and completions of several lengths."""

    def __init__(self, sizes) -> None:
        self._sizes = sizes

    def dataset(self, split) -> Dataset:
        draw = random.Random(split)  # noqa: S311 - rows, not secrets
        rows = [[draw.randrange(3, 200) for _ in range(draw.randrange(8, 30))] for _ in range(self._sizes[split])]
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [[0] * 4 + [1] * (len(r) - 4) for r in rows]})


DATA = ToyData({"train": 18, "validation": 7})


def specs(tiny_model, kind, dtype="float32", **training) -> tuple[ModelSpec, MethodSpec]:
    adapter = None if kind == "full" else PeftSpec(lora_r=4, lora_dropout=0.1)
    method = MethodSpec(kind=kind, peft=adapter, training=TrainingSpec(**{**SETTINGS, **training}))
    return ModelSpec(model_name_or_path=str(tiny_model), dtype=dtype), method


def build(tiny_model, kind, dtype="float32", **training) -> tuple[Trainee, TrainingSpec]:
    spec, method = specs(tiny_model, kind, dtype, **training)
    base = load_for_training(spec, method, cache=tiny_model, device=CPU)
    return attach(base, method, spec, seed=3, load_original=partial(load_model, spec)), method.training


def run(tiny_model, directory, kind="lora", dtype="float32", *, data=DATA, deadline=None, on_rung=None, **training):
    trainee, settings = build(tiny_model, kind, dtype, **training)
    return run_trainee(trainee, settings, tiny_model, directory, data=data, deadline=deadline, on_rung=on_rung)


def run_trainee(trainee, settings, tiny_model, directory, *, data=DATA, deadline=None, on_rung=None) -> TrainingOutcome:
    return train(
        trainee,
        load_tokenizer(ModelSpec(model_name_or_path=str(tiny_model)), cache=directory),
        data,
        settings,
        seed=3,
        output=directory / "checkpoint",
        steps_file=directory / "steps.jsonl",
        on_rung=on_rung or (lambda *_: False),
        on_progress=lambda _: None,
        deadline=deadline,
    )


def read_steps(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]


def losses(directory) -> list[float]:
    return [line["loss"] for line in read_steps(directory) if "loss" in line]


@pytest.mark.parametrize("validations", [1, 7])
def test_a_trial_trains_exactly_as_under_a_plain_sft_trainer(tiny_model, tmp_path, validations) -> None:
    trainee, settings = build(tiny_model, "lora", validations=validations)
    arguments = SFTConfig(
        str(tmp_path / "plain"),
        learning_rate=settings.learning_rate,
        num_train_epochs=1.5,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps,
        weight_decay=0.01,
        max_grad_norm=1.0,
        activation_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=3,
        data_seed=3,
        logging_steps=1,
        completion_only_loss=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
    )
    tokenizer = load_tokenizer(ModelSpec(model_name_or_path=str(tiny_model)), cache=tmp_path)
    disable_progress_bars()
    plain = SFTTrainer(trainee.model, arguments, train_dataset=DATA.dataset("train"), processing_class=tokenizer)
    enable_progress_bars()
    plain.train()
    expected = [entry["loss"] for entry in plain.state.log_history if "loss" in entry]

    run(tiny_model, tmp_path / "ours", validations=validations)

    assert len(expected) == 8
    assert losses(tmp_path / "ours") == expected


def test_padding_is_counted_where_rows_of_a_batch_differ_in_length(tiny_model, tmp_path) -> None:
    rows = DATA.dataset("train")["input_ids"]

    padded = run(tiny_model, tmp_path / "two", num_train_epochs=1).result
    alone = run(tiny_model, tmp_path / "one", num_train_epochs=1, per_device_train_batch_size=1).result

    assert alone.positions == alone.tokens == sum(len(row) for row in rows)
    assert padded.tokens == alone.tokens
    assert padded.tokens < padded.positions <= len(rows) * max(len(row) for row in rows)


@pytest.mark.parametrize(("kind", "dtype"), [("lora", "float32"), ("qlora", "bfloat16"), ("full", "bfloat16")])
def test_the_same_config_and_seed_give_the_same_weights(tiny_model, tmp_path, kind, dtype) -> None:
    first = run(tiny_model, tmp_path / "a", kind, dtype).result
    second = run(tiny_model, tmp_path / "b", kind, dtype).result

    assert first.initial_sha256 == second.initial_sha256
    assert first.final_sha256 == second.final_sha256
    assert first.initial_sha256 != first.final_sha256


@pytest.mark.parametrize(("kind", "dtype"), [("lora", "float32"), ("qlora", "float32"), ("qlora", "bfloat16")])
def test_taking_validation_losses_changes_nothing_about_training(tiny_model, tmp_path, kind, dtype) -> None:
    often = run(tiny_model, tmp_path / "often", kind, dtype, validations=8).result
    never = run(tiny_model, tmp_path / "never", kind, dtype, data=ToyData({"train": 18, "validation": 0})).result

    assert often.final_sha256 == never.final_sha256
    assert (often.validation_loss is None, never.validation_loss is None) == (False, True)


def test_a_qlora_adapter_is_trained_in_float32_as_a_lora_adapter_is(tiny_model, tmp_path) -> None:
    started, trained = {}, {}
    for kind in ("lora", "qlora"):
        trainee, settings = build(tiny_model, kind, "bfloat16", learning_rate=1e-6)
        before = {name: weight.detach().clone() for name, weight in trainable_weights(trainee.model).items()}
        started[kind] = run_trainee(trainee, settings, tiny_model, tmp_path / kind).result.initial_sha256
        # A change of 1e-6 is below the precision of bfloat16 for all but the smallest weights.
        after = trainable_weights(trainee.model)
        trained[kind] = [bool((after[name] != before[name]).float().mean() > 0.9) for name in before]
        assert {weight.dtype for weight in after.values()} == {torch.float32}

    assert started["lora"] == started["qlora"]
    assert all(trained["lora"])
    assert all(trained["qlora"])


def test_full_fine_tuning_in_bfloat16_keeps_updates_that_bfloat16_would_round_away(tiny_model, tmp_path) -> None:
    trainee, settings = build(tiny_model, "full", "bfloat16", learning_rate=1e-6)
    weight = trainee.model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    kept = {}

    def look(*_) -> bool:
        kept.update(dtype=weight.dtype, changed=float((weight != before).float().mean()))
        return False

    outcome = run_trainee(trainee, settings, tiny_model, tmp_path, on_rung=look)

    assert kept["dtype"] == torch.float32
    assert kept["changed"] > 0.9
    assert outcome.result.optim == "adamw_torch on float32 weights, bfloat16 compute"
    saved = load_model(
        ModelSpec(model_name_or_path=str(tiny_model)), cache=tmp_path, device=CPU, checkpoint=tmp_path / "checkpoint"
    )
    assert saved.dtype == torch.bfloat16


def test_the_validation_loss_is_the_mean_over_completion_tokens(tiny_model, tmp_path) -> None:
    trainee, settings = build(tiny_model, "full", num_train_epochs=1, validations=1, completion_only_loss=False)

    outcome = run_trainee(trainee, settings, tiny_model, tmp_path)

    loss, tokens = 0.0, 0
    model = load_model(
        ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"),
        cache=tmp_path,
        device=CPU,
        checkpoint=tmp_path / "checkpoint",
    )
    for row in DATA.dataset("validation"):
        ids = torch.tensor(row["input_ids"])
        with torch.no_grad():
            logprobs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        loss -= float(logprobs[3:-1].gather(1, ids[4:, None]).sum())
        tokens += len(ids) - 4
    assert outcome.result.validation_loss == pytest.approx(loss / tokens, rel=1e-5)


def test_learning_whole_rows_is_another_loss_than_learning_completions(tiny_model, tmp_path) -> None:
    run(tiny_model, tmp_path / "completions", lr_scheduler_type="constant")
    run(tiny_model, tmp_path / "rows", lr_scheduler_type="constant", completion_only_loss=False)

    assert losses(tmp_path / "completions")[0] != losses(tmp_path / "rows")[0]


def test_recomputed_activations_change_memory_and_not_the_losses(tiny_model, tmp_path) -> None:
    run(tiny_model, tmp_path / "kept")
    run(tiny_model, tmp_path / "recomputed", gradient_checkpointing=True)

    assert losses(tmp_path / "recomputed") == pytest.approx(losses(tmp_path / "kept"), rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant_with_warmup", "linear", "cosine_with_min_lr", "warmup_stable_decay"])
def test_every_schedule_trains_without_further_arguments(tiny_model, tmp_path, schedule) -> None:
    run(tiny_model, tmp_path, lr_scheduler_type=schedule, max_steps=4)

    rates = [line["learning_rate"] for line in read_steps(tmp_path) if "loss" in line]
    assert len(rates) == 4
    assert max(rates) == pytest.approx(5e-3)


def test_what_is_measured_is_what_was_done(tiny_model, tmp_path) -> None:
    outcome = run(tiny_model, tmp_path, num_train_epochs=2)

    result = outcome.result
    assert result.optimizer_steps == 10
    assert result.tokens == 2 * sum(len(row["input_ids"]) for row in DATA.dataset("train"))
    assert result.train_loss == pytest.approx(sum(losses(tmp_path)) / 10)
    assert result.validation_loss == outcome.intermediate[4]
    assert result.trainable_parameters < result.total_parameters
    assert result.checkpoint_bytes == sum(path.stat().st_size for path in (tmp_path / "checkpoint").iterdir())
    assert set(outcome.seconds) == {"train", "validate", "wait", "save"}
    assert result.tokens_per_second == pytest.approx(result.tokens / outcome.seconds["train"])


def test_rows_are_cut_to_the_trials_own_length(tiny_model, tmp_path) -> None:
    outcome = run(tiny_model, tmp_path, num_train_epochs=1, max_length=9)

    assert outcome.result.tokens == sum(min(9, len(row["input_ids"])) for row in DATA.dataset("train"))


def test_a_pruned_trial_stops_at_its_rung_and_saves_nothing(tiny_model, tmp_path) -> None:
    outcome = run(tiny_model, tmp_path, on_rung=lambda rung, _: rung == 2)

    assert outcome.pruned
    assert outcome.result.optimizer_steps == 4
    # The bill is for what was trained: 16 rows of 18.
    assert outcome.result.tokens == read_steps(tmp_path)[-2]["tokens"]
    assert 0 < outcome.result.tokens < sum(len(row["input_ids"]) for row in DATA.dataset("train"))
    assert sorted(outcome.intermediate) == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["steps.jsonl"]


def test_a_rate_that_blows_the_model_up_is_divergence(tiny_model, tmp_path) -> None:
    with pytest.raises(TrialError) as ended:
        run(tiny_model, tmp_path, "full", learning_rate=1e20, lr_scheduler_type="constant")

    assert ended.value.kind == "diverged"
    assert [path.name for path in tmp_path.iterdir()] == ["steps.jsonl"]


def test_a_trial_past_its_deadline_ends_after_the_step_it_is_in(tiny_model, tmp_path) -> None:
    with pytest.raises(TrialError) as ended:
        run(tiny_model, tmp_path, deadline=time.monotonic())

    assert ended.value.kind == "deadline"
    assert len(losses(tmp_path)) <= 1


def test_training_prints_nothing_and_writes_only_where_it_is_told(tiny_model, tmp_path, monkeypatch, capsys) -> None:
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    trainee, settings = build(tiny_model, "lora")
    capsys.readouterr()

    run_trainee(trainee, settings, tiny_model, tmp_path / "trial")

    assert capsys.readouterr() == ("", "")
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == ["checkpoint", "steps.jsonl"]


def test_the_checkpoint_holds_the_weights_that_were_hashed_and_the_tokenizer(tiny_model, tmp_path) -> None:
    trainee, settings = build(tiny_model, "lora")

    outcome = run_trainee(trainee, settings, tiny_model, tmp_path)

    assert outcome.result.final_sha256 == weights_sha256(trainee.model)
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names


def test_the_arguments_are_planned_for_the_steps_that_are_taken(tiny_model, tmp_path) -> None:
    _, settings = build(tiny_model, "lora", lr_scheduler_type="warmup_stable_decay", lr_scheduler_kwargs={})
    arguments = sft_config(settings, rows=18, dtype=torch.float32, device=CPU, seed=0, output=tmp_path)

    outcome = run(tiny_model, tmp_path / "trial", lr_scheduler_type="warmup_stable_decay")

    assert arguments.lr_scheduler_kwargs == {"num_decay_steps": 1}
    assert outcome.result.optimizer_steps == 8


def test_trials_of_different_lengths_take_their_validation_losses_after_the_same_number_of_rows(
    tiny_model, tmp_path
) -> None:
    def validated(name: str, **training) -> dict[int, int]:
        run(tiny_model, tmp_path / name, horizon={"passes": 2}, validations=4, **training)
        return {line["rung"]: line["step"] for line in read_steps(tmp_path / name) if "rung" in line}

    # Of 18 rows a quarter of two passes is 9: three steps of 4 rows, or two of 6.
    assert validated("long", num_train_epochs=2) == {1: 3, 2: 5, 3: 8, 4: 10}
    assert validated("short", num_train_epochs=1.5) == {1: 3, 2: 5, 4: 8}
    wide = {"effective_batch_size": 6, "per_device_train_batch_size": 6}
    assert validated("wide", num_train_epochs=2, **wide) == {1: 2, 2: 3, 3: 5, 4: 6}
