"""What a model is built of and what a device holds, as plain numbers: enough to reckon with, without torch.

A worker finds them out and the driver reckons with them, so they cross a pipe and import nothing.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

DeviceKind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of the model; the output layer is not among them."""

    name: str
    """Its whole name, such as `model.layers.0.self_attn.q_proj`."""
    inputs: int
    outputs: int
    layer: int | None
    """Number of the decoder layer that it is in; none outside of all."""
    reads: str
    """What it reads: linears of one layer with the same word share their input, such as `self_attn in`."""

    @property
    def size(self) -> int:
        """Weights, without a bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only model."""

    architecture: str
    """transformers' `model_type`."""
    hidden: int
    """Width of the residual stream."""
    vocabulary: int
    """Rows of the embeddings."""
    layers: int
    """Decoder layers."""
    heads: int
    """Query heads."""
    key_value_heads: int
    head_width: int
    """Width of one head."""
    norms: int
    """Normalisations of the residual stream in each layer."""
    head_norms: bool
    """Whether each head's queries and keys are normalised."""
    linears: tuple[Linear, ...]
    """Every linear layer but the output layer."""
    embedding_parameters: int
    head_parameters: int
    """Parameters of the output layer; 0 where they are the embeddings'."""
    total_parameters: int
    context: int
    """Longest sequence that the model takes, in tokens."""
    is_known: bool
    """Whether what its layers keep for the backward pass is known exactly; elsewhere it is a wide guess."""

    @property
    def linear_parameters(self) -> int:
        """Weights of all linear layers, which is what is held in 4 bits."""
        return sum(linear.size for linear in self.linears)

    def targets(self, wanted: str | Collection[str]) -> tuple[Linear, ...]:
        """The linears that an adapter is put on, by PEFT's rules (`tuners_utils.check_target_module_exists`).

        `all-linear` means every one, another text is a regular expression for whole names, and names of a list are
        whole names or ends of them.
        """
        if wanted == "all-linear":
            return self.linears
        if isinstance(wanted, str):
            return tuple(linear for linear in self.linears if re.fullmatch(wanted, linear.name))
        return tuple(
            linear
            for linear in self.linears
            if any(linear.name == name or linear.name.endswith(f".{name}") for name in wanted)
        )


@dataclass(frozen=True, slots=True)
class Device:
    """Where a trial runs."""

    name: str
    """As its maker calls it."""
    kind: DeviceKind
    memory_bytes: int
    """All of its memory: of the GPU, or of the machine for a CPU."""
    free_bytes: int
    """What was free of it when it was looked at."""


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Lengths of one split's rows, in tokens."""

    rows: int
    tokens: int
    """Of all rows together, prompts and completions."""
    longest: int
    """Of the longest row."""
    learned: int
    """Tokens of all completions."""
    longest_learned: int = 0
    """Of the longest completion."""

    @property
    def mean(self) -> float:
        """Mean length of a row."""
        return self.tokens / self.rows if self.rows else 0.0

    def tokens_of(self, most: int) -> float:
        """Tokens of at most so many rows that are spread over all."""
        return self.mean * min(self.rows, most)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker found out about the model, the machine and the rows: all that memory can be reckoned from."""

    shape: ModelShape | None
    """None where the model's layers could not be made out."""
    device: Device
    lengths: Mapping[str, RowLengths] = field(default_factory=dict)
    """By split."""
