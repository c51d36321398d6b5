"""Attention within rows of a packed batch: against each row by itself, and which way is taken where."""

import pytest
import torch

from sweep.training.lanes import attention

CPU = torch.device("cpu")


def states(tokens: int) -> list[torch.Tensor]:
    """Queries of four heads, keys and values of two, as a model hands them over."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, tokens, 16, generator=generator) for heads in (4, 2, 2)]


@pytest.mark.parametrize("window", [None, 4, 100])
@pytest.mark.parametrize("lengths", [(7,), (5, 5, 5), (9, 2, 8, 1)], ids=["one", "equal", "ragged"])
def test_every_row_attends_to_itself_alone(lengths, window) -> None:
    query, key, value = states(sum(lengths))
    module = torch.nn.Identity()
    with attention.rows_of(lengths, CPU):
        found, _ = attention.attend(module, query, key, value, None, scaling=0.3, sliding_window=window)

    start = 0
    for length in lengths:
        part = slice(start, start + length)
        places = torch.arange(length)
        near = places[None, :] <= places[:, None]
        if window is not None:
            near &= places[None, :] > places[:, None] - window
        scores = 0.3 * query[0, :, part] @ key[0, :, part].repeat_interleave(2, 0).transpose(1, 2)
        alone = scores.masked_fill(~near, -torch.inf).softmax(-1) @ value[0, :, part].repeat_interleave(2, 0)
        torch.testing.assert_close(found[0, part], alone.transpose(0, 1), rtol=1e-5, atol=1e-6)
        start += length


def test_the_varlen_kernel_is_asked_for_what_it_can_do_only(monkeypatch: pytest.MonkeyPatch) -> None:
    device, bfloat16 = torch.device("cuda:0"), torch.bfloat16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))

    assert attention.has_varlen(device, bfloat16, 64)
    assert not attention.has_varlen(CPU, bfloat16, 64)
    assert not attention.has_varlen(device, torch.float32, 64)
    assert not attention.has_varlen(device, bfloat16, 60)
    assert not attention.has_varlen(device, bfloat16, 512)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not attention.has_varlen(device, bfloat16, 64)
