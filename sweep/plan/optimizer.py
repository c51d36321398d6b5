"""What an optimizer remembers of each weight, in bytes.

bitsandbytes' 8-bit states are one byte a value and a float32 constant for each block of 256; matrices below 4,096
values and embeddings stay in float32 (`bitsandbytes.optim`, and transformers' registration of embeddings). Paged states
of 100,000 values and more lie in managed memory: a full GPU sends them to the host, and torch does not count them.
"""

import math
from collections.abc import Iterator, Mapping

from sweep.plan.ranges import Range
from sweep.shape import DeviceKind, ModelShape
from sweep.spec import MethodSpec, PeftSpec

BLOCK = 256
MIN_8_BIT, MIN_PAGED = 4096, 100_000
STATES: Mapping[str, int] = {"adamw": 2, "ademamix": 3, "lion": 1, "rmsprop": 1, "adagrad": 1, "sgd": 0}
"""Values that are remembered for each weight, by how the optimizer's name begins. Others keep less of some weights, or
come from packages of their own."""


def optimizer_bytes(method: MethodSpec, shape: ModelShape, device: DeviceKind) -> tuple[Range, Range]:
    """Bytes of all states, and of those that are paged and may leave the GPU; what is not known costs nothing at best.

    Names are transformers'. Unless it is among the ones known, an optimizer is taken for AdamW.
    """
    name = method.training.optim
    if name == "auto":
        is_whole = method.training.num_processes == 1
        name = "paged_adamw_8bit" if device == "cuda" and is_whole else "adamw_torch"
    states = _states(name)
    is_paged = "paged" in name and device == "cuda"
    held = paged = 0.0
    for size, is_embedding in tensors(method, shape):
        in_8_bits = "8bit" in name and size >= MIN_8_BIT and not is_embedding
        each = size + 4 * math.ceil(size / BLOCK) if in_8_bits else 4 * size
        taken = each * (2 if states is None else states)
        held += taken
        paged += taken if is_paged and size >= MIN_PAGED else 0.0
    least = 0.0 if states is None else held - paged
    return Range(least, held, held), Range(0.0, paged, paged)


def _states(name: str) -> int | None:
    found = (count for start, count in STATES.items() if name.removeprefix("paged_").startswith(start))
    return None if "4bit" in name or "anyprecision" in name else next(found, None)


def tensors(method: MethodSpec, shape: ModelShape) -> Iterator[tuple[int, bool]]:
    """Values of each trained tensor, and whether it is an embedding."""
    if method.kind == "full":
        yield shape.embedding_parameters, True
        yield shape.head_parameters, False
        rest = shape.total_parameters - shape.embedding_parameters - shape.head_parameters - shape.linear_parameters
        # Norms and biases: each is small.
        norms, left = divmod(rest, shape.hidden)
        yield from ((shape.hidden, False) for _ in range(norms))
        yield left, False
        yield from ((linear.size, False) for linear in shape.linears)
        return
    peft = method.peft or PeftSpec()
    for linear in shape.targets(peft.lora_target_modules):
        yield peft.lora_r * linear.inputs, False
        yield peft.lora_r * linear.outputs, False
        if peft.use_dora:
            yield linear.outputs, False
