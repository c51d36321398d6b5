"""Every training setting reaches TRL."""

import pytest
import torch

from sweep.errors import MachineError
from sweep.spec import TrainingSpec
from sweep.training.arguments import (
    SAME_NAME,
    resolve_optim,
    schedule_arguments,
    sft_config,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")

MAPPED_OTHERWISE = {
    "max_steps",
    "effective_batch_size",
    "per_device_train_batch_size",
    "num_processes",
    "completion_only_loss",
    "lr_scheduler_kwargs",
    "optim",
    "gradient_checkpointing",
    "validations",
    "validation_rows",
    "horizon",
}


def configure(tmp_path, **settings):
    dtype = settings.pop("dtype", torch.float32)
    return sft_config(TrainingSpec(**settings), rows=40, dtype=dtype, device=CPU, seed=5, output=tmp_path / "out")


def test_no_training_setting_is_forgotten() -> None:
    properties = {"gradient_accumulation_steps"}

    assert (set(SAME_NAME) - properties) | MAPPED_OTHERWISE == set(TrainingSpec.model_fields)


def test_settings_arrive_under_the_names_that_trl_has_for_them(tmp_path) -> None:
    arguments = configure(
        tmp_path,
        learning_rate=3e-4,
        effective_batch_size=12,
        per_device_train_batch_size=5,
        warmup_steps=0.25,
        adam_beta2=0.95,
        max_steps=7,
        neftune_noise_alpha=5.0,
        gradient_checkpointing=True,
    )

    assert (arguments.learning_rate, arguments.adam_beta2, arguments.neftune_noise_alpha) == (3e-4, 0.95, 5.0)
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (4, 3)
    assert (arguments.max_steps, arguments.get_warmup_steps(100)) == (7, 25)
    assert arguments.gradient_checkpointing
    assert (arguments.seed, arguments.data_seed) == (5, 5)


def test_nothing_is_logged_elsewhere_pushed_packed_or_saved_midway(tmp_path) -> None:
    arguments = configure(tmp_path)

    assert (arguments.report_to, arguments.push_to_hub, arguments.packing) == ([], False, False)
    assert (arguments.save_strategy, arguments.eval_strategy) == ("no", "no")
    assert not arguments.gradient_checkpointing


@pytest.mark.parametrize(("dtype", "bf16"), [(torch.bfloat16, True), (torch.float32, False)])
def test_autocast_follows_the_models_dtype(tmp_path, dtype, bf16) -> None:
    arguments = configure(tmp_path, dtype=dtype)

    assert (arguments.bf16, arguments.fp16) == (bf16, False)


def test_auto_is_paged_8bit_adamw_on_cuda_and_adamw_elsewhere() -> None:
    assert resolve_optim("auto", CUDA) == "paged_adamw_8bit"
    assert resolve_optim("auto", CPU) == "adamw_torch"
    assert resolve_optim("adafactor", CUDA) == "adafactor"


def test_an_unknown_optimizer_is_the_users_mistake() -> None:
    with pytest.raises(MachineError, match=r"unknown optimizer 'adamw_tourch'.*adamw_torch"):
        resolve_optim("adamw_tourch", CPU)


def test_schedules_get_the_arguments_that_transformers_demands() -> None:
    stable = TrainingSpec(lr_scheduler_type="warmup_stable_decay")
    assert schedule_arguments(stable, steps=45) == {"num_decay_steps": 5}
    given = stable.model_copy(update={"lr_scheduler_kwargs": {"num_decay_steps": 7}})
    assert schedule_arguments(given, steps=45) == {"num_decay_steps": 7}

    floor = TrainingSpec(lr_scheduler_type="cosine_with_min_lr")
    assert schedule_arguments(floor, steps=45) == {"min_lr_rate": 0.1}
    given = floor.model_copy(update={"lr_scheduler_kwargs": {"min_lr": 1e-5}})
    assert schedule_arguments(given, steps=45) == {"min_lr": 1e-5}


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [
        ({"effective_batch_size": 4, "per_device_train_batch_size": 2, "num_train_epochs": 1}, 20, 5),
        ({"effective_batch_size": 4, "per_device_train_batch_size": 2, "num_train_epochs": 1.5}, 20, 8),
        ({"effective_batch_size": 8, "per_device_train_batch_size": 8, "num_train_epochs": 2}, 3, 2),
        ({"max_steps": 3}, 1000, 3),
        ({"effective_batch_size": 8, "num_processes": 2, "num_train_epochs": 1}, 29, 4),
    ],
)
def test_planned_steps(settings, rows, steps) -> None:
    assert TrainingSpec(**settings).planned_steps(rows) == steps


@pytest.mark.parametrize(("processes", "rows", "passes"), [(1, 4, 4), (2, 4, 2), (4, 4, 1), (8, 2, 1)])
def test_several_processes_share_the_rows_of_an_optimizer_step(processes, rows, passes) -> None:
    training = TrainingSpec(effective_batch_size=16, per_device_train_batch_size=4, num_processes=processes)

    assert (training.micro_batch_size, training.gradient_accumulation_steps) == (rows, passes)


def test_weights_in_parts_are_stepped_by_an_optimizer_that_can() -> None:
    cuda = torch.device("cuda")

    assert resolve_optim("auto", cuda) == "paged_adamw_8bit"
    assert resolve_optim("auto", cuda, is_sharded=True) == "adamw_torch"
