"""What a plan says of trials that run together, against what `company` then decides of sampled trials."""

import random
from pathlib import Path

import pytest
from shapes import llama_shape
from toy_runner import toy_study

from sweep import space
from sweep.config import configure
from sweep.plan.ranges import Range
from sweep.plan.result import Seating
from sweep.plan.space_ends import candidates
from sweep.shape import Device, Facts, RowLengths
from sweep.spec import StudySpec
from sweep.study.company import FIRST_SEED, ONE_LANE, Company
from sweep.study.seating import NOBODY, seatings

GIGABYTE = 10**9
SHAPE = llama_shape(4096, 14336, 32, 32, 8, 128256, tied=False)
ROWS = RowLengths(rows=1000, tokens=512_000, longest=1024, learned=100_000, longest_learned=400)


def facts(free: float = 2_000) -> Facts:
    size = int(free * GIGABYTE)
    return Facts(SHAPE, Device("Toy 9000", "cuda", size, size), {"train": ROWS})


def study(**changes: object) -> StudySpec:
    values = {"sampler": {"name": "random"}, "budget": {"trials_per_method": 40, "confirm_seeds": 3}, **changes}
    return toy_study(**values)


def seats(spec: StudySpec, known: Facts) -> dict[tuple[str, str], Seating]:
    return {(row.phase, row.method): row for row in seatings(spec, known)}


def test_full_fine_tuning_is_alone_and_adapters_are_together() -> None:
    found = seats(study(lanes=4), facts())

    assert list(found) == [("search", "lora"), ("search", "full"), ("confirm", "lora"), ("confirm", "full")]
    lora, full = found["search", "lora"], found["search", "full"]
    assert (lora.seats, lora.alone, lora.reasons) == (Range.exactly(4), 0.0, ())
    assert lora.bound == "the study says lanes: 4"
    assert (full.seats, full.alone) == (Range.exactly(1), 1.0)
    assert full.reasons == ("full fine-tuning changes the base model",)
    assert found["confirm", "full"].reasons == full.reasons


def test_one_lane_says_so() -> None:
    for row in seatings(study(lanes=1), facts()):
        assert (row.seats.high, row.alone, row.reasons) == (1, 1.0, (ONE_LANE,))


SEARCHED = {
    "methods.lora.peft.lora_r": {"values": (8, 64)},
    "methods.lora.peft.use_dora": {"values": (False, True)},
    "training.optim": {"values": ("adamw_torch", "adafactor", "sgd")},
    "training.gradient_checkpointing": {"values": (False, True)},
    "training.per_device_train_batch_size": {"values": (1, 8)},
}


def test_what_is_said_of_a_space_holds_for_every_trial_of_it() -> None:
    spec, known = study(search_space=SEARCHED), facts(100)
    row = seats(spec, known)["search", "lora"]
    company, pick = Company(spec, lambda: known), random.Random(1)  # noqa: S311 - draws toys
    alone, offered, reasons, keys = 0, set(), set(), set()
    for _ in range(600):
        params = {name: pick.choice(candidates(d)) for name, d in space.for_method(spec, "lora").items()}
        trial = configure(spec, "lora", params, phase="search", number=2, seed=0, data_root=Path())
        reason = company.alone(trial)
        alone += reason is not None
        if reason is None:
            offered.add(company.seats(trial))
            keys.add(company.key(trial))
        else:
            reasons.add(reason)

    assert row.alone == pytest.approx(5 / 6)
    assert alone / 600 == pytest.approx(row.alone, abs=0.05)
    assert set(row.reasons) == reasons
    assert (row.seats.low, row.seats.high) == (min(offered), max(offered))
    assert row.seats.low < row.seats.high
    assert row.bases == len(keys) == 2
    assert "memory" in row.bound


def test_what_is_searched_decides_and_not_what_the_study_file_happens_to_say() -> None:
    ranks = {"methods.lora.peft.lora_r": {"values": (8, 16)}}
    spec = study(search_space={**ranks, "training.optim": {"values": ("adamw_torch",)}})
    own = spec.methods["lora"]
    training = own.training.model_copy(update={"optim": "adafactor"})
    odd = spec.model_copy(update={"methods": {"lora": own.model_copy(update={"training": training})}})

    assert seats(odd, facts())["search", "lora"].alone == 0
    fixed = odd.model_copy(update={"search_space": ranks})
    assert seats(fixed, facts())["search", "lora"].reasons == ("optim adafactor",)


def test_a_small_space_or_budget_has_no_more_seats_than_trials() -> None:
    few = study(budget={"trials_per_method": 3, "confirm_seeds": 0})

    row = seats(few, facts())["search", "lora"]
    assert (row.seats, row.bound) == (Range.exactly(3), "the search has 3 trials")
    one = seats(study(budget={"trials_per_method": 1, "confirm_seeds": 0}), facts())["search", "lora"]
    assert (one.alone, one.reasons) == (1.0, (NOBODY,))


def test_a_device_without_room_runs_trials_one_by_one_for_its_memory() -> None:
    row = seats(study(), facts(20))["search", "lora"]

    assert (row.seats, row.alone, row.reasons) == (Range.exactly(1), 1.0, ("memory",))


@pytest.mark.parametrize(
    ("seeds", "seats_", "alone", "reasons"),
    [(1, 1, 1.0, (FIRST_SEED,)), (2, 1, 1.0, (FIRST_SEED, NOBODY)), (5, 4, 0.2, (FIRST_SEED,))],
)
def test_a_finalists_first_seed_is_alone(seeds: int, seats_: int, alone: float, reasons: tuple[str, ...]) -> None:
    row = seats(study(budget={"trials_per_method": 8, "confirm_seeds": seeds}), facts())["confirm", "lora"]

    assert (row.seats, row.alone, row.reasons) == (Range.exactly(seats_), pytest.approx(alone), reasons)


def test_finalists_of_two_methods_over_one_base_run_together() -> None:
    spec = study(budget={"trials_per_method": 8, "confirm_seeds": 3})
    both = spec.model_copy(
        update={"methods": {"one": spec.methods["lora"], "two": spec.methods["lora"]}, "search_space": {}}
    )

    assert seats(both, facts())["confirm", "one"].seats == Range.exactly(4)
