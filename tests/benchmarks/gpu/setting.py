"""Where the measurements run: the device, its speed at its best, and the models that are made on it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import drawn_models
import torch
from datasets import Dataset
from drawn_models import Kept, Size
from transformers.modeling_utils import PreTrainedModel

from evals.spec import ModelSpec, QuantizationSpec
from sweep.environment import describe
from sweep.models import release_memory
from sweep.roofline import measure_product
from sweep.spec import MethodKind, MethodSpec, PeftSpec, TrainingSpec

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the matrix product that a share of the peak is a share of."""
KEPT: Mapping[MethodKind, Kept] = {"lora": "16-bit", "qlora": "4-bit", "full": "32-bit"}
GIBIBYTE = 2**30
LEARNED = 4
"""One token of so many is learned: the end of each row."""


@dataclass
class Setting:
    """One call of the script."""

    device: torch.device
    tiny: bool
    scratch: Path
    data: Path
    """Public data sets, for the parts that score."""
    model: str
    """A trained model for whole studies: a directory, or `package:NAME`."""
    save: Path
    dtype: torch.dtype = torch.bfloat16
    product: float = 0.0
    """Operations a second of a large matrix product in that dtype."""
    _held: tuple[tuple[str, Kept], PreTrainedModel] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.product = measure_product(self.device, self.dtype, SIDE[self.device.type]).flops_per_second

    @property
    def on_gpu(self) -> bool:
        """Whether times and memory mean anything."""
        return self.device.type == "cuda"

    @property
    def sizes(self) -> Mapping[str, Size]:
        """Models by name."""
        return drawn_models.TINY if self.tiny else drawn_models.REAL

    def base(self, size: str, kind: MethodKind) -> PreTrainedModel:
        """The model that a method starts from, of which one is held at a time.

        A few steps of full fine-tuning change its numbers, on which neither speed nor memory depends.
        """
        key = (size, KEPT[kind])
        if self._held is None or self._held[0] != key:
            self.forget()
            self._held = key, drawn_models.build(self.sizes[size], KEPT[kind], self.device, dtype=self.dtype)
        return self._held[1]

    def forget(self) -> None:
        """Make room."""
        self._held = None
        release_memory()

    @property
    def spec(self) -> ModelSpec:
        """What a study would say of the model, where it is asked."""
        return ModelSpec(model_name_or_path="random", dtype=str(self.dtype).removeprefix("torch."))

    def machine(self, commit: str) -> dict[str, str]:
        """Hardware, driver, versions, date and commit."""
        found = describe(ask_gpu=True)
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else found.get("cpu", "cpu")
        if self.on_gpu:
            found["device_memory"] = f"{torch.cuda.get_device_properties(self.device).total_memory / GIBIBYTE:.1f} GiB"
        dtype = str(self.dtype).removeprefix("torch.")
        return {
            **found,
            "device": f"{name}{' (tiny shapes)' if self.tiny else ''}",
            "date": datetime.now(UTC).date().isoformat(),
            "git": commit or found.get("git", ""),
            "matrix_product": f"{self.product / 1e12:.3g} TFLOP/s, {SIDE[self.device.type]}³ {dtype}",
        }

    def share_of_peak(self, size: str, kind: MethodKind, trainable: int, tokens_per_second: float) -> float:
        """Useful operations a second over the matrix product's: 4 a frozen parameter and token, 6 a trained one."""
        total = self.sizes[size].parameters + (0 if kind == "full" else trainable)
        trained = self.sizes[size].parameters if kind == "full" else trainable
        return (4.0 * total + 2.0 * trained) * tokens_per_second / self.product

    def seconds_of(self, size: str, kind: MethodKind, tokens: float) -> float:
        """About what training on so many tokens takes, at a quarter of the peak."""
        each = (6.0 if kind == "full" else 4.0) * self.sizes[size].parameters
        return each * tokens / (0.25 * self.product)


def method(kind: MethodKind, rows: int, tokens: int, *, steps: int, rank: int = 16, **training: object) -> MethodSpec:
    """A method on all linear layers, one micro-batch a step."""
    settings = {
        "learning_rate": 1e-5 if kind == "full" else 1e-4,
        "effective_batch_size": rows,
        "per_device_train_batch_size": rows,
        "max_length": tokens,
        "max_steps": steps,
        "optim": "adamw_torch_fused",
        "warmup_steps": 0,
        **training,
    }
    quantized = kind == "qlora"
    return MethodSpec(
        kind=kind,
        peft=None if kind == "full" else PeftSpec(lora_r=rank, lora_alpha=32, lora_target_modules="all-linear"),
        load_in_4bit=quantized,
        quantization=QuantizationSpec() if quantized else None,
        training=TrainingSpec(**settings),
    )


class RandomRows:
    """Rows of random tokens, all as long; none to validate on."""

    def __init__(self, rows: int, tokens: int, vocabulary: int, *, batches: int = 16) -> None:
        draw = random.Random(1)  # noqa: S311 - rows, not secrets
        learned = max(1, tokens // LEARNED)
        self.mask = [0] * (tokens - learned) + [1] * learned
        self.rows = [[draw.randrange(3, vocabulary) for _ in range(tokens)] for _ in range(rows * batches)]

    def dataset(self, split: str) -> Dataset:
        """Rows of a split."""
        rows = self.rows if split == "train" else []
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [self.mask for _ in rows]})


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """GiB that torch had at most while the block ran, filled in at its end; nothing on a CPU."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        found["peak_gib"] = torch.cuda.max_memory_allocated(device) / GIBIBYTE


def wait_for(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
