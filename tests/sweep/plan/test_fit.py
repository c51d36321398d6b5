"""What fits a device, what is refused before it is tried, and what would make it fit."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from shapes import llama_shape
from toy_runner import toy_study

from sweep.config import configure
from sweep.plan.fit import UNKNOWN_ROWS, advice, device_fit, method_memory, refusal
from sweep.plan.memory import estimate
from sweep.shape import Device, Facts, RowLengths
from sweep.spec import Dimension, MethodSpec, PeftSpec, StudySpec, TrainingSpec

GB = 10**9
SHAPE = llama_shape(4096, 14336, 32, 32, 8, 128256, tied=False)
ROWS = RowLengths(rows=1000, tokens=1_024_000, longest=1024, learned=200_000, longest_learned=400)
WIDE = TrainingSpec(effective_batch_size=16, per_device_train_batch_size=16)
LORA = MethodSpec(kind="lora", peft=PeftSpec(lora_r=16), training=WIDE)
FULL = MethodSpec(kind="full", training=WIDE)
SPEC = toy_study(methods={"lora": LORA.model_dump(), "full": FULL.model_dump()}, search_space={
    "training.learning_rate": Dimension(min=1e-5, max=1e-3, log=True),
    "training.per_device_train_batch_size": Dimension(values=(1, 16)),
})  # fmt: skip


def gpu(size: float) -> Device:
    return Device("Toy 9000", "cuda", int(size), int(size))


def peak(method: MethodSpec, rows: RowLengths = ROWS):
    return estimate(SPEC.model, method, SHAPE, rows, "cuda").peak


def batches(method: MethodSpec, size: int, **training: object) -> MethodSpec:
    changed = {"per_device_train_batch_size": size, **training}
    return method.model_copy(update={"training": method.training.model_copy(update=changed)})


def trial(method: str, spec: StudySpec = SPEC, **params: object):
    return configure(spec, method, params, phase="search", number=0, seed=0, data_root=Path())


def test_the_verdict_steps_down_as_the_device_gets_smaller() -> None:
    memory = method_memory(SPEC, "lora", SHAPE, ROWS, "cuda")
    most, least = memory.most.peak, memory.least.peak
    sizes = [most.high, most.expected, most.expected - 1, most.low, most.low - 1, least.low, least.low - 1]

    # Devices hold whole bytes.
    fits = [device_fit(SPEC, memory, SHAPE, ROWS, gpu(size + 1)).fit for size in sizes[:2]]
    fits += [device_fit(SPEC, memory, SHAPE, ROWS, gpu(size)).fit for size in (most.expected - 1, most.low + 1)]
    fits += [device_fit(SPEC, memory, SHAPE, ROWS, gpu(size)).fit for size in (most.low - 1, least.low + 1)]
    fits += [device_fit(SPEC, memory, SHAPE, ROWS, gpu(least.low - 1)).fit]
    assert fits == ["fits", "likely", "unlikely", "unlikely", "some", "some", "none"]


def test_the_ends_of_a_search_are_its_smallest_and_largest_batch() -> None:
    memory = method_memory(SPEC, "lora", SHAPE, ROWS, "cuda")

    assert memory.least.peak == peak(batches(LORA, 1))
    assert memory.most.peak == peak(batches(LORA, 16))
    assert memory.most_params == {"training.per_device_train_batch_size": 16}


def test_a_config_is_refused_only_where_the_least_that_it_needs_is_too_much() -> None:
    low = peak(LORA).low
    facts = Facts(SHAPE, gpu(low + 1), {"train": ROWS})

    assert refusal(trial("lora"), facts) is None
    told = refusal(trial("lora"), replace(facts, device=gpu(low - 1)))
    assert told is not None
    assert told.startswith(f"This config needs at least {low / GB:.1f} GB, and Toy 9000 has {low / GB:.1f} GB. With ")
    assert told.endswith(" GB.")


def test_the_base_model_and_a_model_that_is_not_known_are_never_refused() -> None:
    config = trial("full")

    assert refusal(config, Facts(SHAPE, gpu(1), {"train": ROWS})) is not None
    assert refusal(config, Facts(None, gpu(1), {"train": ROWS})) is None
    assert refusal(config.model_copy(update={"method_spec": None}), Facts(SHAPE, gpu(1), {"train": ROWS})) is None


def test_rows_that_nothing_is_known_of_are_not_held_against_a_config() -> None:
    low = peak(LORA, UNKNOWN_ROWS).low

    assert low < peak(LORA).low
    assert refusal(trial("lora"), Facts(SHAPE, gpu(low + 1))) is None


def test_advice_is_the_smallest_change_that_fits_and_what_it_says_is_so() -> None:
    eight = peak(batches(LORA, 8)).expected

    assert advice(SPEC.model, LORA, SHAPE, ROWS, gpu(eight + 1)) == (
        f"With per_device_train_batch_size 8 it takes about {eight / GB:.1f} GB."
    )
    # Where no batch is small enough, weights in 4 bits are.
    told = advice(SPEC.model, LORA, SHAPE, ROWS, gpu(10 * GB))
    four = batches(LORA, 1, gradient_checkpointing=True).model_copy(update={"load_in_4bit": True})
    assert told == (
        "With per_device_train_batch_size 1 and gradient_checkpointing and load_in_4bit it takes about "
        f"{peak(four).expected / GB:.1f} GB."
    )
    assert peak(four).expected < 10 * GB


def test_full_fine_tuning_is_never_told_to_train_4_bit_weights() -> None:
    plain = batches(FULL, 16, optim="adamw_torch")
    told = {advice(SPEC.model, plain, SHAPE, ROWS, gpu(size * GB)) for size in range(1, 400, 5)}

    assert None in told
    assert any("paged_adamw_8bit" in text for text in told if text)
    assert not any("load_in_4bit" in text for text in told if text)


def test_a_start_that_does_not_go_with_4_bits_is_not_told_to_use_them() -> None:
    pissa = LORA.model_copy(update={"peft": PeftSpec(lora_r=16, init_lora_weights="pissa")})

    told = {advice(SPEC.model, pissa, SHAPE, ROWS, gpu(size * GB)) for size in range(1, 100, 3)}
    assert any(told)
    assert not any("load_in_4bit" in text for text in told if text)


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_what_is_advised_fits(method: MethodSpec) -> None:
    for size in range(1, 400, 3):
        told = advice(SPEC.model, method, SHAPE, ROWS, gpu(size * GB))
        assert told is None or float(re.search(r"about ([\d.]+) GB", told)[1]) <= size + 0.05


def test_a_device_on_which_nothing_helps_is_told_so() -> None:
    assert advice(SPEC.model, LORA, SHAPE, ROWS, gpu(1 * GB)) is None
    told = refusal(trial("lora"), Facts(SHAPE, gpu(1 * GB), {"train": ROWS}))
    assert told is not None
    assert told.endswith("Nothing that was tried makes it fit.")
