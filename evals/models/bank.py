"""Several LoRA adapters on one base model at once, each row of a batch with its own.

PEFT's way to mix adapters in a batch is a loop over them in every layer. Here the adapters of a layer stand stacked,
padded to the largest rank: where rows come adapter by adapter in equal numbers, one batched product serves all; any
other order goes through all adapters side by side, and each row keeps its own part.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from peft.utils.save_and_load import load_peft_weights

from evals.errors import ModelError
from evals.models.trust import UNREADABLE, refuse_endless_adapter, refuse_pickled_adapter

PREFIX = "base_model.model."
PLAIN = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "target_parameters",
)
"""Settings that a mixed batch does not serve when they are on."""


@dataclass(frozen=True, slots=True)
class Lora:
    """One adapter's weights for one module: the change is `scale * (x @ down) @ up`."""

    down: torch.Tensor
    """Inputs by rank."""
    up: torch.Tensor
    """Rank by outputs."""
    scale: float


def read_lora(adapter: Path, device: torch.device) -> dict[str, Lora]:
    """An adapter's weights by module. Raises ModelError where it is more than a plain LoRA."""
    refuse_pickled_adapter(adapter)
    try:
        config = PeftConfig.from_pretrained(adapter)
        weights = load_peft_weights(str(adapter), device=str(device))
    except (*UNREADABLE, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{adapter}: cannot be read: {first_line}") from error
    _check_plain(adapter, config, weights)
    refuse_endless_adapter(adapter, weights)
    loras = {}
    for key in (key for key in weights if key.endswith("lora_A.weight")):
        module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        down, up = weights[key], weights[key.replace("lora_A", "lora_B")]
        # PEFT holds 16-bit adapters in float32 for scoring too.
        loras[module] = Lora(down.float().T.contiguous(), up.float().T.contiguous(), _scale(config, module, len(down)))
    return loras


def _check_plain(adapter: Path, config: Any, weights: Mapping[str, torch.Tensor]) -> None:  # noqa: ANN401
    if not isinstance(config, LoraConfig):
        raise ModelError(
            f"{adapter}: this is {config.peft_type}, and only LoRA adapters share a batch. Score it alone."
        )
    refused = [name for name in PLAIN if getattr(config, name, None)]
    if config.bias != "none":
        refused.append("bias")
    if refused or any(".lora_A.weight" not in key and ".lora_B.weight" not in key for key in weights):
        named = ", ".join(refused) or "weights beside LoRA's own"
        raise ModelError(f"{adapter}: {named} cannot share a batch with other adapters. Score it alone.")


def _scale(config: Any, module: str, rank: int) -> float:  # noqa: ANN401
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
    return float(alpha) / (math.sqrt(rank) if config.use_rslora else rank)


class LoraBank:
    """Adapters by number, and which of them each row of the next forward belongs to."""

    def __init__(self, adapters: Sequence[Mapping[str, Lora]]) -> None:
        self.size = len(adapters)
        self.adapters = adapters
        self.blocks = 1
        self._device = next((lora.down.device for adapter in adapters for lora in adapter.values()), None)
        self.owners = torch.zeros(1, dtype=torch.long, device=self._device)

    def route(self, adapters: Sequence[int]) -> None:
        """Say which adapter each row belongs to."""
        rows = list(adapters)
        share = len(rows) // self.size
        self.blocks = self.size if rows == [number for number in range(self.size) for _ in range(share)] else 0
        # Sent once here rather than by every module of the forward.
        self.owners = torch.tensor(rows, device=self._device)

    @contextmanager
    def attached(self, model: Any) -> Iterator[None]:  # noqa: ANN401
        """Let the adapters act on the model's modules while the block runs."""
        handles = []
        try:
            for name in sorted({name for adapter in self.adapters for name in adapter}):
                try:
                    module = model.get_submodule(name)
                except AttributeError as error:
                    raise ModelError(
                        f"adapters: the base model has no module {name!r}. Give adapters of it."
                    ) from error
                stack = _Stack(self, [adapter.get(name) for adapter in self.adapters])
                handles.append(module.register_forward_hook(stack))
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Stack:
    """All adapters of one module, padded to the largest rank."""

    def __init__(self, bank: LoraBank, loras: Sequence[Lora | None]) -> None:
        self.bank = bank
        present = [lora for lora in loras if lora is not None]
        rank = max(lora.down.shape[1] for lora in present)
        like = present[0].down
        self.down = like.new_zeros(len(loras), like.shape[0], rank)
        self.up = like.new_zeros(len(loras), rank, present[0].up.shape[1])
        self.scales = like.new_zeros(len(loras))
        for number, lora in enumerate(loras):
            if lora is not None:
                self.down[number, :, : lora.down.shape[1]] = lora.down
                self.up[number, : lora.up.shape[0]] = lora.up
                self.scales[number] = lora.scale
        # Adapters side by side, as one product reads them.
        self.wide_down = self.down.permute(1, 0, 2).flatten(1).contiguous()
        self.wide_up = self.up.flatten(0, 1)

    def __call__(self, _: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        rows = inputs[0].to(self.down.dtype)
        change = self._by_block(rows) if self.bank.blocks else self._by_row(rows)
        return (output + change).to(output.dtype)

    def _by_block(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of each adapter together, in equal numbers."""
        blocks = rows.reshape(self.bank.blocks, -1, rows.shape[-1])
        change = torch.bmm(torch.bmm(blocks, self.down), self.up) * self.scales[:, None, None]
        return change.view(*rows.shape[:-1], -1)

    def _by_row(self, rows: torch.Tensor) -> torch.Tensor:
        own = torch.nn.functional.one_hot(self.bank.owners, len(self.scales)) * self.scales
        inner = (rows @ self.wide_down).view(*rows.shape[:-1], len(self.scales), -1)
        mine: torch.Tensor = inner * own[:, None, :, None]
        return mine.flatten(-2) @ self.wide_up
