"""Dropout of a lane, drawn as a trainer alone would draw it on the same device.

Torch draws for a whole padded batch, and on a GPU in an order of its kernel's own, from the device's default generator.
A lane has a generator to itself: its state takes the default one's place for the draw.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


def drawn(
    generator: torch.Generator, dropout: float, lengths: Sequence[int], size: int, dtype: torch.dtype
) -> torch.Tensor:
    """What inputs of rows of these lengths are multiplied by, tokens x size: 0 or 1 / (1 - p), in float32.

    `dtype` is that of the inputs that a trainer would drop: on a GPU it decides which value each draw is for. What is
    drawn for padding is left out.
    """
    shape = (len(lengths), max(lengths), size)
    with lent(generator), torch.no_grad():
        noise = torch.nn.functional.dropout(torch.ones(shape, dtype=dtype, device=generator.device), dropout)
    if dtype != torch.float32:
        # The kernel scales in float32, whatever it stores.
        noise = (noise != 0).float().div_(1.0 - dropout)
    return torch.cat([row[:length] for row, length in zip(noise, lengths, strict=True)])


@contextmanager
def lent(generator: torch.Generator) -> Iterator[None]:
    """Let the device's default generator go on where this one stands, and this one where that stops."""
    device = generator.device
    default = torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]
    before = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(before)
