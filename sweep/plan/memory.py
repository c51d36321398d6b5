"""How much memory a trial will need, part by part, before anything is loaded.

What weights are kept in follows `sweep.models` and `sweep.adapters`: a frozen base in the compute dtype or in 4 bits,
all that is trained in float32, with float32 gradients. Embeddings, output layer and norms are never quantized.

The low end is what a trial needs whatever happens, so that a config whose low end does not fit need not be tried. The
peak is the largest of three moments: the end of the forward pass, when all activations are there; the end of the
backward pass, when all gradients are; and the optimizer's step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evals.spec import ModelSpec
from sweep.method_rules import quantization_of, starts_without_weights
from sweep.plan.activations import FLOAT32, Pass, adapter_size, cast_bytes, kept_bytes, recomputed_bytes
from sweep.plan.optimizer import optimizer_bytes
from sweep.plan.ranges import Range, total
from sweep.shape import DeviceKind, ModelShape, RowLengths
from sweep.spec import MethodSpec, PeftSpec

MEBIBYTE = 2**20
DTYPE_BYTES: Mapping[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
NF4_BLOCK = 64
"""Weights that share a constant in bitsandbytes' 4-bit format."""
NESTED_BLOCK = 256
"""Constants that share a constant of their own under double quantization (arXiv 2305.14314)."""
LOSS_TOKENS, LOSS_COLUMNS = 4096, 32768
"""Largest tile of logits that TRL 1.16 makes at a time (`kernels/chunked_logprob.py`)."""
LOSS_COPIES = 7
"""float32 copies of a tile that are there at one time of its backward pass where there is no Triton, as on a CPU:
logits before and after the temperature, log-probabilities, probabilities, the gradient, and two of what is added."""
LOSS_MASK = 1
"""Bytes of a value beside them: whether it is the target's."""

OVERHEAD: Mapping[DeviceKind, Range] = {
    # A CUDA context with cuBLAS and the kernels of torch and bitsandbytes, beside what torch's allocator counts.
    "cuda": Range(250 * MEBIBYTE, 600 * MEBIBYTE, 1500 * MEBIBYTE),
    # A Python process that has imported torch, transformers, TRL, PEFT and lm-evaluation-harness.
    "cpu": Range(700 * MEBIBYTE, 1150 * MEBIBYTE, 2000 * MEBIBYTE),
}
FRAGMENTATION = 0.15
"""Share of what comes and goes in a step that an allocator may hold beyond what is in use, at most."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What one config needs while it trains, in bytes. Parts are at their own largest, and not all at one time."""

    parts: Mapping[str, Range]
    """weights, adapters, gradients, optimizer, activations, logits, work space, overhead."""
    peak: Range
    """The most at any one time."""
    unseen: Range
    """Part of the peak that torch's count of the GPU's memory does not hold: CUDA's context and paged states."""

    @property
    def recorded(self) -> Range:
        """The peak as a record would hold it: without what torch does not count."""
        return Range(
            self.peak.low - self.unseen.low,
            self.peak.expected - self.unseen.expected,
            self.peak.high - self.unseen.high,
        )


def estimate(
    model: ModelSpec, method: MethodSpec, shape: ModelShape, lengths: RowLengths, device: DeviceKind
) -> MemoryEstimate:
    """Memory that training needs on a device; the rows bound how long a micro-batch can be."""
    longest = _pass(model, method, shape, lengths, device)
    # Each process has its part of these, and all of what is below.
    part = 1 / method.training.num_processes
    weights = Range.exactly(weight_bytes(model, method, shape)) * part
    trainable = trainable_parameters(method, shape)
    gradients = Range.exactly(FLOAT32 * trainable) * part
    optimizer, paged = (states * part for states in optimizer_bytes(method, shape, device))
    adapters = Range.exactly(0 if method.kind == "full" else FLOAT32 * trainable) * part
    activations = _activations(shape, longest, lengths)
    gathered = gathered_bytes(model, method, shape)
    logits, work = _logits(shape, longest, lengths), total((_work_space(shape, longest), gathered))
    parts = {
        "weights": weights,
        "adapters": adapters,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": activations,
        "logits": logits,
        "work space": work,
        "overhead": OVERHEAD[device],
    }
    accumulated = gradients * (1 if method.training.gradient_accumulation_steps > 1 else 0)
    moments = (
        total((activations, logits, accumulated, gathered)),
        total((gradients, work)),
        total((gradients, _step_bytes(method, shape, device) * part)),
    )
    peak = total((weights, adapters, optimizer, OVERHEAD[device], _largest(moments)))
    if device == "cpu":
        parts, peak = _on_one_machine(method, parts, peak)
    unseen = total((OVERHEAD[device], paged)) if device == "cuda" else Range.exactly(0)
    return MemoryEstimate(parts, peak, unseen)


def gathered_bytes(model: ModelSpec, method: MethodSpec, shape: ModelShape) -> Range:
    """What a process holds of the others' weights at one time: a decoder layer, the next one, and what is around them.

    Where all is trained, the gradients of a layer and of the embeddings are whole until they are added up.
    """
    if method.training.num_processes == 1:
        return Range.exactly(0)
    size = FLOAT32 if method.kind == "full" else DTYPE_BYTES[model.dtype]
    around = size * (shape.embedding_parameters + shape.head_parameters)
    layer = max(0, weight_bytes(model, method, shape) - around) / max(1, shape.layers)
    whole = layer + around if method.kind == "full" else 0
    return Range(layer, 2 * layer + around + whole, 3 * layer + around + 2 * whole)


def _on_one_machine(method: MethodSpec, parts: Mapping[str, Range], peak: Range) -> tuple[dict[str, Range], Range]:
    """CPU processes share the machine's memory; those that read the base model hold it whole at first."""
    processes = method.training.num_processes
    if processes == 1:
        return dict(parts), peak
    everywhere = {name: part * processes for name, part in parts.items()}
    readers = 1 if starts_without_weights(method) else processes
    loading = total((everywhere["weights"] * readers, everywhere["adapters"] * processes, everywhere["overhead"]))
    return everywhere, _largest((peak * processes, loading))


def weight_bytes(model: ModelSpec, method: MethodSpec, shape: ModelShape) -> int:
    """The base model's weights, quantization constants included."""
    if method.kind == "full":
        return FLOAT32 * shape.total_parameters
    size = DTYPE_BYTES[model.dtype]
    quantization = quantization_of(method)
    if quantization is None:
        return size * shape.total_parameters
    unquantized = size * (shape.total_parameters - shape.linear_parameters)
    return unquantized + sum(
        four_bit_bytes(linear.size, nested=quantization.use_bnb_nested_quant) for linear in shape.linears
    )


def four_bit_bytes(weights: int, *, nested: bool) -> int:
    """One quantized matrix: half a byte a weight, and a constant for each block of weights."""
    blocks = math.ceil(weights / NF4_BLOCK)
    constants = blocks + FLOAT32 * math.ceil(blocks / NESTED_BLOCK) if nested else FLOAT32 * blocks
    return math.ceil(weights / 2) + constants


def trainable_parameters(method: MethodSpec, shape: ModelShape) -> int:
    """Weights that training changes."""
    if method.kind == "full":
        return shape.total_parameters
    peft = method.peft or PeftSpec()
    return sum(
        adapter_size(linear, peft.lora_r) + (linear.outputs if peft.use_dora else 0)
        for linear in shape.targets(peft.lora_target_modules)
    )


def _pass(model: ModelSpec, method: MethodSpec, shape: ModelShape, lengths: RowLengths, device: DeviceKind) -> Pass:
    training, peft = method.training, method.peft or PeftSpec()
    rows = min(training.micro_batch_size, lengths.rows or training.micro_batch_size)
    trains_all = method.kind == "full"
    adapted = () if trains_all else shape.targets(peft.lora_target_modules)
    return Pass(
        rows=rows,
        length=max(2, min(lengths.longest, training.max_length)),
        dtype_bytes=DTYPE_BYTES[model.dtype],
        trains_all=trains_all,
        adapted=frozenset(linear.name for linear in adapted),
        rank=peft.lora_r,
        dropout=peft.lora_dropout > 0 and not trains_all,
        dora=peft.use_dora and not trains_all,
        four_bit=quantization_of(method) is not None,
        attention=model.attn_implementation or "sdpa",
        masked=rows > 1,
        checkpointed=training.gradient_checkpointing,
        device=device,
    )


def _activations(shape: ModelShape, of: Pass, lengths: RowLengths) -> Range:
    """The longest row is in some micro-batch, and is padded to by all rows of it.

    At least it is there alone, or a full micro-batch of mean length is. Another architecture may keep less or more
    than a Llama: nothing but its layers' inputs is certain.
    """
    full = kept_bytes(shape, of) + recomputed_bytes(shape, of) + cast_bytes(shape, of)
    # Of rows that nothing is known of, none need be long.
    least_tokens = max(of.length, min(lengths.mean, of.length) * of.rows) if lengths.rows else 0
    share = least_tokens / of.tokens
    high = (1 + FRAGMENTATION) * full
    if shape.is_known:
        return Range(share * (full - cast_bytes(shape, of)), full, high)
    bare = shape.layers * of.tokens * shape.hidden * of.dtype_bytes
    return Range(min(share * bare, full), full, 2 * high)


def _logits(shape: ModelShape, of: Pass, lengths: RowLengths) -> Range:
    """Tiles of logits, never all of them, and the gradients that the output layer gives."""
    tokens = of.rows * min(lengths.longest_learned or of.length, of.length) if of.device == "cuda" else of.tokens
    tile = min(tokens, LOSS_TOKENS) * LOSS_COLUMNS * of.dtype_bytes
    columns = min(shape.vocabulary, LOSS_COLUMNS)
    each = 0 if of.device == "cuda" else LOSS_COPIES * FLOAT32 + LOSS_MASK
    copies = each * min(tokens, LOSS_TOKENS) * columns
    gradient = tokens * shape.hidden * (FLOAT32 + of.stream_bytes)
    weight = FLOAT32 * shape.vocabulary * shape.hidden if of.trains_all else 0
    cast = columns * shape.hidden * (of.dtype_bytes + (0 if of.device == "cuda" else FLOAT32))
    expected = tile + copies + gradient + weight + cast
    return Range(0.0, expected, 1.5 * expected)


def _work_space(shape: ModelShape, of: Pass) -> Range:
    """What the backward pass of one layer makes and drops: gradients of its widest parts, a matrix in 16 bits."""
    widest = max((linear.outputs for linear in shape.linears), default=shape.hidden)
    values = of.tokens * (3 * widest * of.dtype_bytes + 2 * shape.hidden * of.stream_bytes)
    largest = max((linear.size for linear in shape.linears), default=0)
    matrix = largest * (of.dtype_bytes + (FLOAT32 if of.trains_all else 0)) if of.four_bit or of.trains_all else 0
    return Range(0.0, values + matrix, 2 * (values + matrix))


def _step_bytes(method: MethodSpec, shape: ModelShape, device: DeviceKind) -> Range:
    """Temporary values of AdamW's step. On CUDA torch does it for many tensors at a time, bitsandbytes for one."""
    every = float(FLOAT32 * trainable_parameters(method, shape))
    at_once = device == "cuda" and method.training.optim.startswith("adamw_torch")
    return Range(0.0, every if at_once else 0.0, every)


def _largest(moments: tuple[Range, ...]) -> Range:
    return Range(
        max(moment.low for moment in moments),
        max(moment.expected for moment in moments),
        max(moment.high for moment in moments),
    )
