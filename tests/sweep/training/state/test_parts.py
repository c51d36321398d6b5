"""Parts of a training state go back where they came from, or nowhere."""

import random

import numpy as np
import pytest
import torch

from sweep.training.state.file import StateUnusableError
from sweep.training.state.parts import (
    joined,
    part,
    put_optimizer,
    put_random,
    put_weights,
    take_optimizer,
    take_random,
    take_weights,
)


def weights(*shapes: tuple[int, ...]) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(len(shapes))
    return {
        f"w{number}": torch.nn.Parameter(torch.randn(shape, generator=generator)) for number, shape in enumerate(shapes)
    }


def test_parts_are_found_by_their_names() -> None:
    both = joined({"weights": take_weights(weights((2, 3))), "random": take_random()})

    assert part(both, "weights").tensors.keys() == {"w0"}
    assert part(both, "random").tensors.keys() >= {"torch"}
    with pytest.raises(StateUnusableError, match="no optimizer"):
        part(both, "optimizer")


@pytest.mark.parametrize("other", [weights((2, 3)), weights((2, 3), (5, 4)), weights((2, 3), (4, 5), (1,))])
def test_weights_of_another_model_change_none_of_this_one(other: dict[str, torch.nn.Parameter]) -> None:
    mine = weights((2, 3), (4, 5))
    before = {name: weight.detach().clone() for name, weight in mine.items()}

    with pytest.raises(StateUnusableError):
        put_weights(take_weights(other), mine)

    assert all(torch.equal(mine[name], before[name]) for name in mine)


def test_every_generator_goes_on_from_where_it_was() -> None:
    state = take_random()

    def draw() -> tuple[object, ...]:
        return random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), torch.rand(3).tolist()  # noqa: NPY002, S311

    random.gauss(0, 1)
    expected_state = take_random()
    expected = draw()
    put_random(state)
    assert draw() != expected
    put_random(expected_state)
    assert draw() == expected


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_takes_the_steps_that_it_would_have_taken(fused: bool) -> None:
    def optimizer(own: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
        groups = [{"params": [own["w0"]], "weight_decay": 0.1}, {"params": [own["w1"]]}]
        return torch.optim.AdamW(groups, lr=0.1, fused=fused)

    def step(own: dict[str, torch.nn.Parameter], one: torch.optim.Optimizer, turn: int) -> None:
        for weight in own.values():
            weight.grad = torch.sin(weight.detach() * turn)
        one.step()

    mine, other = weights((2, 3), (4, 5)), weights((2, 3), (4, 5))
    first, second = optimizer(mine), optimizer(other)
    for turn in (1, 2):
        step(mine, first, turn)
    first.param_groups[1]["lr"] = 0.05
    put_weights(take_weights(mine), other)
    put_optimizer(take_optimizer(first), second)

    for turn in (3, 4):
        step(mine, first, turn)
        step(other, second, turn)

    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert [group["lr"] for group in second.param_groups] == [0.1, 0.05]


def test_another_optimizers_moments_are_refused() -> None:
    mine, other = weights((2, 3), (4, 5)), weights((2, 3), (5, 4))
    first = torch.optim.AdamW(mine.values())
    for weight in mine.values():
        weight.grad = torch.ones_like(weight)
    first.step()

    for optimizer in (torch.optim.AdamW(other.values()), torch.optim.AdamW([other["w0"]])):
        with pytest.raises(StateUnusableError):
            put_optimizer(take_optimizer(first), optimizer)
