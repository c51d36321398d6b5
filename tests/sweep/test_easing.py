"""The ladder that a trial goes down as memory runs out, and what it teaches trials that ask for no less."""

from itertools import pairwise
from pathlib import Path

import pytest
from toy_runner import toy_study

from evals.spec import QuantizationSpec
from sweep.config import TrialConfig, configure
from sweep.easing import Eased, Easing, described, eased, learned, lower, next_rung
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec


def method(kind: str = "lora", *, peft: dict | None = None, **training: object) -> MethodSpec:
    return MethodSpec(
        kind=kind,
        peft=None if kind == "full" else PeftSpec(**(peft or {})),
        load_in_4bit=kind == "qlora",
        quantization=QuantizationSpec() if kind == "qlora" else None,
        training=TrainingSpec(**training),
    )


def trial(of: MethodSpec, number: int = 0) -> TrialConfig:
    spec = toy_study()
    config = configure(spec, "lora", {}, phase="search", number=number, seed=0, data_root=Path())
    return config.model_copy(update={"method_spec": of, "method": of.kind})


def ladder(of: MethodSpec, together: int, *, is_whole_worker: bool = False) -> list[Easing]:
    """All rungs, from the first time that memory runs out."""
    found: list[Easing] = []
    seats, at = together, None
    while (at := next_rung(of, at, together=seats, is_whole_worker=is_whole_worker)) is not None:
        found.append(at)
        seats = at.lanes or seats
    return found


def test_fewer_lanes_come_first_then_smaller_micro_batches_then_recomputed_activations() -> None:
    rungs = ladder(method(effective_batch_size=16, per_device_train_batch_size=4), together=8)

    assert [(rung.lanes, rung.micro_batch_size, rung.gradient_checkpointing) for rung in rungs] == [
        (1, None, False), (1, 2, False), (1, 1, False), (1, 1, True),
    ]  # fmt: skip


def test_a_worker_that_ended_with_all_its_trials_is_given_half_as_many() -> None:
    rungs = ladder(method(per_device_train_batch_size=1), together=7, is_whole_worker=True)

    assert [(rung.lanes, rung.gradient_checkpointing) for rung in rungs] == [(3, False), (1, False), (1, True)]


@pytest.mark.parametrize(("step", "most"), [(16, 4), (12, 12), (15, 8), (7, 4), (1, 1), (18, 6), (96, 64)])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 97])
def test_every_rung_takes_the_same_steps_with_fewer_rows_at_a_time(step: int, most: int, rows: int) -> None:
    asked = method(effective_batch_size=step, per_device_train_batch_size=most, num_train_epochs=1.5)
    trained = [eased(asked, rung).training for rung in (None, *ladder(asked, together=1))]

    assert {one.micro_batch_size * one.gradient_accumulation_steps for one in trained} == {step}
    assert {(one.planned_steps(rows), one.steps_per_epoch(rows)) for one in trained} == {
        (asked.training.planned_steps(rows), asked.training.steps_per_epoch(rows))
    }
    sizes = [(one.micro_batch_size, not one.gradient_checkpointing) for one in trained]
    assert all(after < before for before, after in pairwise(sizes))
    assert sizes[-1] == (1, False)


def test_nothing_else_of_a_method_changes() -> None:
    asked = method("qlora", peft={"lora_r": 8}, learning_rate=3e-4)
    changed = eased(asked, Easing(lanes=1, micro_batch_size=1, gradient_checkpointing=True))

    plain, other = asked.model_dump(), changed.model_dump()
    training = {key for key in plain["training"] if plain["training"][key] != other["training"][key]}
    assert training == {"per_device_train_batch_size", "gradient_checkpointing"}
    assert {key for key in plain if plain[key] != other[key]} == {"training"}
    assert eased(asked, Easing(lanes=2)) is asked


LARGE = method(peft={"lora_r": 16}, per_device_train_batch_size=4, max_length=1024)
EASED = Eased(config=trial(LARGE, 3), easing=Easing(lanes=1, micro_batch_size=2, why=("Ran out.",), lost_seconds=9.0))


@pytest.mark.parametrize(
    ("asked", "micro_batch_size"),
    [
        (LARGE, 2),
        (method(peft={"lora_r": 64}, max_length=1024), 2),
        # Twice as long rows, so half as many of them.
        (method(peft={"lora_r": 16}, max_length=2048), 1),
        (method(peft={"lora_r": 16}, max_length=4096), 1),
        # Half as long, and twice as many.
        (method(peft={"lora_r": 16}, per_device_train_batch_size=8, max_length=512), 4),
        (method(peft={"lora_r": 16, "use_dora": True}, max_length=1024), 2),
    ],
)  # fmt: skip
def test_what_asks_for_no_less_starts_where_another_came_to(asked: MethodSpec, micro_batch_size: int) -> None:
    found = learned(trial(asked, 7), [EASED])

    assert found is not None
    assert (found.lanes, found.micro_batch_size, found.lost_seconds) == (1, micro_batch_size, 0.0)
    assert found.why == ("lora 3, which asks for no more memory, had run out of it.",)


@pytest.mark.parametrize(
    "asked",
    [
        method(peft={"lora_r": 8}, max_length=1024),
        method(peft={"lora_r": 16}, per_device_train_batch_size=2, max_length=1024),
        method(peft={"lora_r": 16}, max_length=512),
        method(peft={"lora_r": 16, "lora_target_modules": ("q_proj",)}, max_length=1024),
        method(peft={"lora_r": 16}, max_length=1024, gradient_checkpointing=True),
        method(peft={"lora_r": 16}, max_length=1024, optim="adamw_torch"),
        method("qlora", peft={"lora_r": 16}, max_length=1024),
        method("full", max_length=1024),
    ],
)
def test_what_may_need_less_in_any_respect_starts_as_it_is(asked: MethodSpec) -> None:
    assert learned(trial(asked), [EASED]) is None


def test_a_lesson_that_adds_nothing_is_not_told_twice() -> None:
    again = Eased(config=trial(LARGE, 4), easing=Easing(lanes=1, micro_batch_size=2))
    further = Eased(config=trial(LARGE, 5), easing=Easing(lanes=1, micro_batch_size=1, gradient_checkpointing=True))

    found = learned(trial(LARGE, 7), [EASED, again, further])

    assert found is not None
    assert [text.split(",")[0] for text in found.why] == ["lora 3", "lora 5"]
    assert (found.micro_batch_size, found.gradient_checkpointing) == (1, True)


def test_the_lower_of_two_asks_for_as_little_as_either() -> None:
    few, small = Easing(lanes=2, why=("a",)), Easing(lanes=4, micro_batch_size=2, why=("b",), lost_seconds=1.0)

    assert lower(few, small) == Easing(lanes=2, micro_batch_size=2, why=("a", "b"), lost_seconds=1.0)
    assert lower(None, few) == few
    assert lower(None, None) is None


def test_what_a_trial_was_trained_with_is_a_phrase() -> None:
    config = trial(method(effective_batch_size=16, per_device_train_batch_size=4))

    assert described(Easing(lanes=4), config) == "at most 4 together"
    assert described(Easing(lanes=1, micro_batch_size=2), config) == (
        "alone, micro-batches of 2 rows with 8 accumulated"
    )
    assert described(Easing(lanes=1, micro_batch_size=1, gradient_checkpointing=True), config) == (
        "alone, micro-batches of 1 row with 16 accumulated, activations recomputed"
    )
