"""What autograd keeps of a forward pass until the backward pass, in bytes, layer by layer.

Read off the layers of transformers 5.23 (`modeling_llama`), PEFT 0.21 (`tuners/lora/layer.py`, `bnb.py`) and TRL 1.16
(`kernels/chunked_logprob.py`), and checked byte for byte against `torch.autograd.graph.saved_tensors_hooks`. With N
tokens in the micro-batch, s bytes of the compute dtype, widths H (residual stream), Q (all queries), K (all keys):

- a norm keeps its input in float32, 4NH, and 4N of reciprocal roots; a trained weight keeps the normalised input, 4NH;
- a frozen linear keeps nothing. What reads an input that has to be kept shares it with others that read the same, but
  PEFT casts the input to the adapter's float32 and autocast back, once for each adapted linear: a copy each, sNx;
- attention keeps queries, keys, values and output, sN(2Q + 2K), and 4N a head; a padding mask has keys and values
  repeated for every head and costs sNT; eager attention keeps the probabilities, (4 + s)NT a head;
- a gated feed-forward part of inner width I keeps gate, its activation and the other factor, 3sNI;
- an adapter keeps its inner values, sNr; under autocast a copy of each trained weight too, s bytes a weight;
- DoRA (arXiv 2402.09353) keeps the base's and the adapter's output, 2sN times the output, and three float32 norms;
- a checkpointed layer keeps its input alone, and everything once more for the one layer that is being recomputed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from sweep.shape import DeviceKind, Linear, ModelShape

FLOAT32 = 4
ATTENTION_IN, ATTENTION_OUT = "attention in", "attention out"
FEED_FORWARD_IN, FEED_FORWARD_OUT = "feed-forward in", "feed-forward out"


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass of a method."""

    rows: int
    """Rows of the micro-batch."""
    length: int
    """Tokens of its longest row; the others are padded to it."""
    dtype_bytes: int
    """Bytes of the compute dtype; autocast is on where it is not float32."""
    trains_all: bool
    """Full fine-tuning: all weights in float32 and trained. Otherwise the base is frozen."""
    adapted: frozenset[str]
    """Names of the linears that have an adapter."""
    rank: int
    dropout: bool
    dora: bool
    four_bit: bool
    attention: str
    """`eager`, or anything that keeps no probabilities."""
    masked: bool
    """Whether rows differ in length, so that attention needs a mask."""
    checkpointed: bool
    device: DeviceKind

    @property
    def tokens(self) -> int:
        """Tokens with their padding."""
        return self.rows * self.length

    @property
    def autocast(self) -> bool:
        """Whether weights are cast as they are used."""
        return self.dtype_bytes != FLOAT32

    @property
    def copies_inputs(self) -> bool:
        """Whether each adapter keeps an input of its own.

        PEFT's 4-bit layer leaves the cast out under autocast, but asks torch about CUDA's alone.
        """
        cast = self.autocast and not (self.four_bit and self.device == "cuda")
        return cast or self.dropout

    @property
    def stream_bytes(self) -> int:
        """Bytes of one value of the residual stream: float32 embeddings make it float32."""
        return FLOAT32 if self.trains_all else self.dtype_bytes


def kept_bytes(shape: ModelShape, of: Pass) -> int:
    """Bytes that are kept at the end of a forward pass, copies of weights apart."""
    outside = _outside_bytes(shape, of)
    if of.checkpointed:
        return shape.layers * of.tokens * shape.hidden * of.stream_bytes + outside
    layers = _by_layer(shape)
    return sum(_layer_bytes(shape, linears, of) for linears in layers.values()) + outside - _unneeded(shape, of)


def recomputed_bytes(shape: ModelShape, of: Pass) -> int:
    """Bytes that the one checkpointed layer keeps whose backward pass is at work."""
    if not of.checkpointed:
        return 0
    return max((_layer_bytes(shape, linears, of) for linears in _by_layer(shape).values()), default=0)


def cast_bytes(shape: ModelShape, of: Pass) -> int:
    """Copies of trained weights in the compute dtype. Autocast keeps them to the end of the forward, whatever else."""
    if not of.autocast:
        return 0
    if of.trains_all:
        return of.dtype_bytes * shape.linear_parameters
    return of.dtype_bytes * sum(adapter_size(linear, of.rank) for linear in shape.linears if linear.name in of.adapted)


def adapter_size(linear: Linear, rank: int) -> int:
    """Weights of A and B."""
    return rank * (linear.inputs + linear.outputs)


def _layer_bytes(shape: ModelShape, linears: list[Linear], of: Pass) -> int:
    """What one layer keeps, without copies of weights."""
    tokens = of.tokens
    norms = shape.norms * _norm_bytes(shape.hidden, tokens, of)
    adapted = [linear for linear in linears if linear.name in of.adapted]
    kept = norms + _attention_bytes(shape, linears, of) + _feed_forward_bytes(linears, of) + _input_bytes(linears, of)
    kept += len(adapted) * of.rank * of.dtype_bytes * tokens
    if of.dora:
        outputs = sum(linear.outputs for linear in adapted)
        kept += outputs * (2 * of.dtype_bytes * tokens + 3 * FLOAT32)
    return kept


def _norm_bytes(width: int, tokens: int, of: Pass) -> int:
    return tokens * (width * FLOAT32 * (2 if of.trains_all else 1) + FLOAT32)


def _input_bytes(linears: list[Linear], of: Pass) -> int:
    """Inputs that trained linears keep."""
    kept = 0
    for reads, group in groupby(sorted(linears, key=lambda linear: linear.reads), key=lambda linear: linear.reads):
        members = list(group)
        trained = members if of.trains_all else [linear for linear in members if linear.name in of.adapted]
        if not trained:
            continue
        copies = of.dtype_bytes * _copies(reads, len(trained), of)
        noise = len(trained) * (0 if not of.dropout else 1 if of.device == "cuda" else FLOAT32)
        kept += trained[0].inputs * (copies + noise)
    return kept * of.tokens


def _copies(reads: str, readers: int, of: Pass) -> int:
    """Times that an input is kept for its readers, apart from where attention keeps it already."""
    if of.trains_all:
        # What a norm gives is float32 where its weight is, and is cast for each reader.
        own = readers if of.autocast and reads.endswith(" in") else 1
        copied = False
    else:
        own = readers if of.copies_inputs else 1
        copied = of.copies_inputs
    return 0 if reads == ATTENTION_OUT and not copied and of.attention != "eager" else own


def _attention_bytes(shape: ModelShape, linears: list[Linear], of: Pass) -> int:
    if not any(linear.reads == ATTENTION_OUT for linear in linears):
        return 0
    queries, keys = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
    norms = sum(_norm_bytes(width, of.tokens, of) for width in ((queries, keys) if shape.head_norms else ()))
    if of.attention == "eager":
        probabilities = shape.heads * of.length * (FLOAT32 + (of.dtype_bytes if of.autocast else 0))
        return norms + of.tokens * (of.dtype_bytes * 3 * queries + probabilities)
    repeated = of.masked and of.attention == "sdpa"
    kept = of.dtype_bytes * (2 * queries + 2 * (queries if repeated else keys)) + FLOAT32 * shape.heads
    mask = of.dtype_bytes * of.length if repeated else 0
    return norms + of.tokens * (kept + mask)


def _feed_forward_bytes(linears: list[Linear], of: Pass) -> int:
    """Gate, activation and factor; without a gate, what goes into the activation."""
    inner = [linear for linear in linears if linear.reads == FEED_FORWARD_IN]
    if not inner:
        return 0
    widest = sum(linear.outputs for linear in inner)
    out = next((linear.inputs for linear in linears if linear.reads == FEED_FORWARD_OUT), widest)
    is_gated = widest >= 2 * out
    return of.tokens * of.dtype_bytes * out * (3 if is_gated else 1)


def _outside_bytes(shape: ModelShape, of: Pass) -> int:
    """Last norm, the output layer's input and its statistics (no token predicts the first), numbers, angles."""
    head = of.rows * (of.length - 1) * (shape.hidden * of.stream_bytes + 8 + 2 * FLOAT32 + 2)
    numbers = 8 * of.tokens if of.trains_all else 0
    angles = 2 * of.length * shape.head_width * of.stream_bytes
    return _norm_bytes(shape.hidden, of.tokens, of) + head + numbers + angles


def _unneeded(shape: ModelShape, of: Pass) -> int:
    """What the first layer need not keep: under a frozen base nothing before the first adapter has a gradient."""
    if of.trains_all:
        return 0
    norm = _norm_bytes(shape.hidden, of.tokens, of)
    first = _by_layer(shape)[0]
    adapted = {linear.reads for linear in first if linear.name in of.adapted}
    if ATTENTION_IN in adapted:
        entry = [linear.inputs for linear in first if linear.reads == ATTENTION_IN and linear.name in of.adapted]
        casts = of.dtype_bytes * of.rank if of.autocast else 0
        noise = FLOAT32 if of.dropout and of.device == "cpu" else 0
        return norm + sum(entry) * (casts + noise * of.tokens)
    unneeded = norm + _attention_bytes(shape, first, of)
    if ATTENTION_OUT in adapted:
        shares = not of.copies_inputs and of.attention != "eager"
        return unneeded - (of.dtype_bytes * shape.heads * shape.head_width * of.tokens if shares else 0)
    if FEED_FORWARD_IN in adapted:
        return unneeded + norm
    return unneeded + norm + _feed_forward_bytes(first, of)


def _by_layer(shape: ModelShape) -> Mapping[int, list[Linear]]:
    layers: dict[int, list[Linear]] = {number: [] for number in range(shape.layers)}
    for linear in shape.linears:
        if linear.layer is not None:
            layers.setdefault(linear.layer, []).append(linear)
    return layers
