"""The varlen kernel of a GPU against attention that is written out, forward and backward."""

import pytest
import torch

from sweep.training.lanes import attention

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]
GPU = torch.device("cuda:0")
TOLERANCE = {"rtol": 2e-2, "atol": 2e-2}
"""Of bfloat16's eight bits, over sums of some hundred terms."""


def states(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator(GPU).manual_seed(0)
    drawn = [torch.randn(1, heads, tokens, 64, generator=generator, device=GPU) for heads in (8, 4, 4)]
    return [state.bfloat16().requires_grad_() for state in drawn]


def attended(given: list[torch.Tensor], lengths: tuple[int, ...], window: int | None) -> torch.Tensor:
    with attention.rows_of(lengths, GPU):
        found, _ = attention.attend(torch.nn.Identity(), *given, None, sliding_window=window)
    return found


@pytest.mark.parametrize("window", [None, 32])
@pytest.mark.parametrize("lengths", [(128, 128), (300, 17, 64, 1)], ids=["equal", "ragged"])
def test_it_agrees_with_the_padded_form(lengths, window, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = states(sum(lengths)), states(sum(lengths))
    assert attention.has_varlen(GPU, torch.bfloat16, 64)
    found = attended(ours, lengths, window)
    found.float().square().sum().backward()
    monkeypatch.setattr(attention, "has_varlen", lambda *_: False)
    expected = attended(other, lengths, window)
    expected.float().square().sum().backward()

    torch.testing.assert_close(found, expected, **TOLERANCE)
    for mine, theirs in zip(ours, other, strict=True):
        error = (mine.grad - theirs.grad).float().norm() / theirs.grad.float().norm()
        assert error < 2e-2


def test_a_row_is_the_same_bytes_whoever_stands_beside_it() -> None:
    given = [state.detach() for state in states(400)]
    alone = attended([state[:, :, :100] for state in given], (100,), None)
    beside = attended(given, (100, 300), None)

    assert torch.equal(alone[0], beside[0, :100])
