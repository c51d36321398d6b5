"""The ends of a search space against every config of it."""

from itertools import product
from math import sqrt

import optuna
import pytest
from toy_runner import RATE, toy_study

from sweep import space
from sweep.config import fill
from sweep.plan.space_ends import MOST_POINTS, candidates, ends, filled, spread
from sweep.spec import Dimension, MethodSpec

RANK = "methods.lora.peft.lora_r"
BATCH, LENGTH, EPOCHS = "training.per_device_train_batch_size", "training.max_length", "training.num_train_epochs"
KEYS = frozenset({BATCH, LENGTH, EPOCHS})


def needed(config: MethodSpec) -> float:
    """Grows with batch, length and rank, and falls with checkpoints."""
    rank = 0 if config.peft is None else config.peft.lora_r
    whole = config.training.micro_batch_size * config.training.max_length * (1 + rank)
    return whole / (2 if config.training.gradient_checkpointing else 1)


SPACE = {
    RATE: {"min": 1e-5, "max": 1e-3, "log": True},
    RANK: {"values": (16, 8, 64)},
    BATCH: {"values": (4, 1, 2)},
    LENGTH: {"min": 128, "max": 512, "step": 128},
    "training.gradient_checkpointing": {"values": (True, False)},
}


def test_the_ends_are_those_of_all_combinations() -> None:
    spec = toy_study(search_space=SPACE)
    found = ends(spec, "lora", needed)
    dimensions = space.for_method(spec, "lora")
    all_configs = [
        fill(spec.methods["lora"], "lora", dict(zip(dimensions, values, strict=True)))
        for values in product(*(candidates(dimension) for dimension in dimensions.values()))
    ]

    assert needed(found.least) == min(map(needed, all_configs))
    assert needed(found.most) == max(map(needed, all_configs))
    assert found.own == spec.methods["lora"]
    assert found.most_params == {RANK: 64, BATCH: 4, LENGTH: 512, "training.gradient_checkpointing": False}


def test_keys_that_do_not_bear_on_the_amount_are_left_as_they_are() -> None:
    spec = toy_study(search_space=SPACE)
    found = ends(spec, "lora", needed)

    assert RATE not in found.most_params
    assert found.most.training.learning_rate == spec.methods["lora"].training.learning_rate


def test_a_space_in_which_nothing_bears_on_it_has_one_config() -> None:
    spec = toy_study()
    found = ends(spec, "full", needed)

    assert found.least == found.own == found.most == spec.methods["full"]
    assert found.most_params == {}


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        ({"values": (8, 64, 16)}, (8, 64, 16)),
        ({"min": 1, "max": 9}, (1, 5, 9)),
        ({"min": 1, "max": 10, "step": 4}, (1, 5, 9)),
        ({"min": 0, "max": 12, "step": 4}, (0, 8, 12)),
        ({"min": 3, "max": 3}, (3,)),
        ({"min": 0.0, "max": 1.0}, (0.0, 0.5, 1.0)),
        ({"min": 0.0, "max": 1.1, "step": 0.5}, (0.0, 0.5, 1.0)),
        ({"min": 1e-4, "max": 1e-2, "log": True}, (1e-4, pytest.approx(1e-3), 1e-2)),
        ({"min": 4, "max": 64, "log": True}, (4, 16, 64)),
    ],
)
def test_candidates_are_the_ends_and_the_middle_of_what_can_be_chosen(
    dimension: dict[str, object], expected: tuple[object, ...]
) -> None:
    found = candidates(Dimension.model_validate(dimension))

    assert found == expected
    assert [type(value) for value in found if not isinstance(value, float)] == [
        type(value) for value in expected if isinstance(value, int)
    ]
    assert all(space.contains(Dimension.model_validate(dimension), value) for value in found)


def test_no_search_chooses_beyond_the_candidates() -> None:
    for given in ({"min": 1, "max": 10, "step": 4}, {"min": 0.1, "max": 1.0, "step": 0.25}):
        dimension = Dimension.model_validate(given)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        chosen = {space.sample(study.ask(), {"key": dimension})["key"] for _ in range(60)}
        found = candidates(dimension)
        assert (min(chosen), max(chosen)) == pytest.approx((found[0], found[-1]))


def test_a_spread_takes_the_mean_over_every_combination() -> None:
    spec = toy_study(search_space=SPACE)
    least, mean, most = spread(spec, "full", frozenset({BATCH, LENGTH}), needed)
    # No rank: batches 1, 2, 4 times lengths 128, 384, 512.
    every = [batch * length for batch in (4, 1, 2) for length in (128, 384, 512)]

    assert candidates(Dimension.model_validate(SPACE[LENGTH])) == (128, 384, 512)
    assert (least, most) == (128, 4 * 512)
    assert mean == pytest.approx(sum(every) / len(every))


def test_a_methods_own_key_counts_as_the_general_one() -> None:
    own = f"methods.full.{LENGTH}"
    spec = toy_study(search_space={LENGTH: {"values": (64,)}, own: {"values": (128, 256)}})

    assert spread(spec, "full", KEYS, lambda config: config.training.max_length) == (128, 192, 256)
    assert spread(spec, "lora", KEYS, lambda config: config.training.max_length) == (64, 64, 64)


def test_configs_that_do_not_go_together_are_left_out() -> None:
    spec = toy_study(search_space={LENGTH: {"values": (1, 64, 128)}})

    assert filled(spec.methods["full"], "full", {LENGTH: 1}) is None
    assert spread(spec, "full", KEYS, lambda config: config.training.max_length) == (64, 96, 128)
    assert ends(spec, "full", lambda config: config.training.max_length).least.training.max_length == 64


def test_a_space_too_large_to_go_through_keeps_its_ends_and_its_mean() -> None:
    values = tuple(range(2, 22))
    searched = {LENGTH: {"values": values}, BATCH: {"values": values}, EPOCHS: {"values": values}}
    spec = toy_study(search_space=searched)
    assert len(values) ** 3 > MOST_POINTS

    def amount(config: MethodSpec) -> float:
        training = config.training
        return training.max_length + training.per_device_train_batch_size + training.num_train_epochs

    least, mean, most = spread(spec, "full", KEYS, amount)

    assert (least, most) == (6, 63)
    # Of 20 numbers from 2 to 21, thrice.
    assert mean == pytest.approx(3 * 11.5, rel=0.01)


def test_amounts_that_are_all_alike_ascend() -> None:
    spec = toy_study(search_space={LENGTH: {"values": tuple(range(2, 8))}})
    least, mean, most = spread(spec, "full", KEYS, lambda _: sqrt(0.1) * 0.7)

    assert least <= mean <= most
