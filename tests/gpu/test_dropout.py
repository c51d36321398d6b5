"""A lane's dropout is what torch draws under the lane's seed, whoever else draws from the device's generator."""

import pytest
import torch

from sweep.training.lanes.dropout import drawn, lent
from sweep.training.lanes.transfer import fetched, joined, sent

LENGTHS, SIZE, RATE = (5, 3, 4), 6, 0.3


def generator(device: torch.device, seed: int = 7) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def default_state(device: torch.device) -> torch.Tensor:
    return torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_drawn_is_what_a_trainer_draws_for_the_padded_batch(device, dtype) -> None:
    own = generator(device)
    found = [drawn(own, RATE, LENGTHS, SIZE, dtype) for _ in range(3)]

    torch.manual_seed(7)
    ones = torch.ones(len(LENGTHS), max(LENGTHS), SIZE, dtype=dtype, device=device)
    expected = [torch.nn.functional.dropout(ones, RATE) for _ in range(3)]

    for mine, padded in zip(found, expected, strict=True):
        rows = torch.cat([row[:length] for row, length in zip(padded, LENGTHS, strict=True)])
        assert torch.equal(mine != 0, rows != 0)
        assert mine.dtype == torch.float32
        assert torch.allclose(mine[mine != 0], torch.tensor(1 / (1 - RATE), device=device))
    assert not torch.equal(found[0], found[1])


def test_drawing_leaves_the_devices_own_generator_where_it_was(device) -> None:
    torch.manual_seed(3)
    before = default_state(device)

    drawn(generator(device), RATE, LENGTHS, SIZE, torch.float32)

    assert torch.equal(default_state(device), before)


def test_an_error_while_it_is_lent_leaves_it_there_too(device) -> None:
    before = default_state(device)

    def broken() -> None:
        with lent(generator(device)):
            raise ZeroDivisionError(torch.rand(3, device=device).shape)

    with pytest.raises(ZeroDivisionError):
        broken()

    assert torch.equal(default_state(device), before)


def test_numbers_that_are_sent_arrive_and_come_back(device) -> None:
    whole = sent(range(1000), torch.long, device)
    parts = sent([0.5, 0.25], torch.float32, device)

    assert fetched(joined([whole[-2:], parts, parts.sum()])) == [998.0, 999.0, 0.5, 0.25, 0.75]
