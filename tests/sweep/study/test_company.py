"""How many trials are offered to a device at the same time, and what keeps it from being more."""

from dataclasses import replace
from pathlib import Path

import pytest
from shapes import llama_shape
from toy_runner import toy_study

from evals.spec import ModelSpec
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.plan.fit import SAFE_SHARE, lanes_that_fit
from sweep.plan.memory import estimate
from sweep.shape import Device, DeviceKind, Facts, RowLengths
from sweep.spec import StudySpec
from sweep.study.company import FIRST_SEED, ONE_LANE, Company

GIGABYTE = 10**9
SHAPE = llama_shape(4096, 14336, 32, 32, 8, 128256, tied=False)
ROWS = RowLengths(rows=1000, tokens=512_000, longest=1024, learned=100_000, longest_learned=400)

ONE_ROW = {"training.per_device_train_batch_size": 1}


def facts(kind: DeviceKind = "cpu", free: float = 2_000 * GIGABYTE) -> Facts:
    return Facts(SHAPE, Device("Toy 9000", kind, int(free), int(free)), {"train": ROWS})


def study(**changes: object) -> StudySpec:
    values = {"sampler": {"name": "random"}, "budget": {"trials_per_method": 40, "confirm_seeds": 3}, **changes}
    return toy_study(**values)


def trial(
    spec: StudySpec, method: str = "lora", *, phase: str = "search", number: int = 2, **params: object
) -> TrialConfig:
    return configure(spec, method, params, phase=phase, number=number, seed=0, data_root=Path())


def limit(spec: StudySpec, known: Facts | None, **asked: object) -> tuple[int, str]:
    company = Company(spec, lambda: known)
    found = company.limit(trial(spec, **asked))
    assert company.seats(trial(spec, **asked)) == found.seats
    assert (company.key(trial(spec, **asked)) is None) == (company.alone(trial(spec, **asked)) is not None)
    return found.seats, found.why


def test_a_device_with_room_is_offered_the_most_for_its_kind() -> None:
    assert limit(study(), facts("cpu")) == (8, "8 are offered to a CPU at most")
    assert limit(study(), facts("cuda", 10_000 * GIGABYTE)) == (32, "32 are offered to a GPU at most")


def test_the_study_may_ask_for_more_or_fewer() -> None:
    assert limit(study(lanes=3), facts()) == (3, "the study says lanes: 3")
    assert limit(study(lanes=12), facts()) == (12, "the study says lanes: 12")
    assert limit(study(lanes=1), facts()) == (1, ONE_LANE)


@pytest.mark.parametrize(("trials", "seats"), [(3, 2), (12, 3), (20, 5), (31, 7)])
def test_a_search_that_learns_has_four_turns(trials: int, seats: int) -> None:
    spec = study(sampler={"name": "tpe"}, budget={"trials_per_method": trials, "confirm_seeds": 9})
    part = "no more of" if trials < 8 else "a quarter of"
    why = f"{part} the budget's {trials} trials, as the search learns from them"

    assert limit(spec, facts()) == (seats, why)
    assert limit(spec, facts(), phase="confirm")[0] == 8
    # An order is an order, whatever the search learns.
    assert limit(spec.model_copy(update={"lanes": 8}), facts())[0] == 8


def test_a_turn_is_no_larger_than_what_is_offered() -> None:
    spec = study(sampler={"name": "tpe"}, budget={"trials_per_method": 400})

    assert limit(spec, facts()) == (8, "8 are offered to a CPU at most")


def test_full_fine_tuning_the_first_seed_and_what_is_not_known_run_alone() -> None:
    spec = study()

    assert limit(spec, facts(), method="full") == (1, "full fine-tuning changes the base model")
    assert limit(spec, facts(), phase="confirm", number=1) == (1, FIRST_SEED)
    assert limit(spec, None) == (1, "nothing is known of the device")
    base = configure_baseline(spec, phase="baseline", data_root=Path())
    assert Company(spec, facts).limit(base).seats == 1


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_memory_holds_two_bases_and_as_many_trials_as_fit_beside_them(kind: DeviceKind) -> None:
    spec = study(lanes=16)
    config = trial(spec)
    needed = estimate(config.model, config.method_spec, SHAPE, ROWS, kind)
    base, overhead = (needed.parts[name].expected for name in ("weights", "overhead"))
    each = needed.peak.expected - base - overhead

    for count in (1, 2, 5, 15):
        enough = (2 * base + overhead + count * each + 1) / SAFE_SHARE
        assert lanes_that_fit(config, facts(kind, enough + 1)) == count
        assert lanes_that_fit(config, facts(kind, enough - each / SAFE_SHARE / 2)) == max(1, count - 1)
        assert limit(spec, facts(kind, enough + 1)) == (count, "memory")
    assert limit(spec, facts(kind, (2 * base + overhead + 17 * each) / SAFE_SHARE))[1] == "the study says lanes: 16"


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_trial_that_needs_more_has_fewer_beside_it(kind: DeviceKind) -> None:
    spec = study()
    known = facts(kind, 400 * GIGABYTE)
    sizes = [
        lanes_that_fit(trial(spec, **{"training.per_device_train_batch_size": size}), known) for size in (1, 2, 4, 8)
    ]

    assert all(size is not None for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_larger_gpu_holds_more_and_a_base_in_4_bits_leaves_room_for_more() -> None:
    lora = study()
    method = lora.methods["lora"].model_copy(update={"kind": "qlora", "load_in_4bit": True})
    four = lora.model_copy(update={"methods": {**lora.methods, "lora": method}})
    fitting = [
        [lanes_that_fit(trial(spec, **ONE_ROW), facts("cuda", size * GIGABYTE)) for spec in (lora, four)]
        for size in (24, 48, 80)
    ]

    assert fitting == sorted(fitting)
    assert fitting[0][0] < fitting[-1][0]
    # On the smallest neither has another beside it.
    assert all(in_four > plain for plain, in_four in fitting[1:])


def test_what_else_takes_of_the_device_is_not_planned_with() -> None:
    known = facts("cuda", 80 * GIGABYTE)
    busy = replace(known, device=replace(known.device, free_bytes=30 * GIGABYTE))
    config = trial(study(), **ONE_ROW)

    assert lanes_that_fit(config, busy) < lanes_that_fit(config, known)
    assert lanes_that_fit(config, busy) == lanes_that_fit(config, facts("cuda", 30 * GIGABYTE))


def test_without_the_models_shape_memory_bounds_nothing() -> None:
    unknown = replace(facts(free=1), shape=None)

    assert lanes_that_fit(trial(study()), unknown) is None
    assert limit(study(lanes=5), unknown) == (5, "the study says lanes: 5")


def test_trials_share_a_key_where_only_the_adapter_and_its_training_differ() -> None:
    spec = study()
    company = Company(spec, facts)
    one = company.key(trial(spec))

    assert company.key(trial(spec, number=7, **{"training.learning_rate": 0.5, "methods.lora.peft.lora_r": 3})) == one
    assert company.key(trial(spec, **{"training.gradient_checkpointing": True})) != one
    assert company.key(trial(spec, phase="confirm")) != one
    other = spec.model_copy(update={"model": ModelSpec(model_name_or_path="another")})
    assert Company(other, facts).key(trial(other)) != one
