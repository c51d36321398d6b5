"""Which model is scored, on which tasks, and how: enough to repeat a score."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """A frozen description read from a file; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        # A loss may be infinite or no number; JSON has neither, and null would not be read back.
        ser_json_inf_nan="strings",
    )


Dtype = Literal["bfloat16", "float16", "float32"]


class ModelSpec(Spec):
    """The base model. Keys are TRL's `ModelConfig` where it has them."""

    model_name_or_path: str
    """A Hub name, a local directory, or `package:NAME` for a model shipped inside an installed Python package."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    gguf_file: str | None = None
    """A GGUF file within the model's directory; it is converted once into the cache."""
    dtype: Dtype = "bfloat16"
    """Compute dtype of the weights, the same for every method and for scoring."""
    attn_implementation: str | None = "sdpa"
    """Attention back end, as transformers names them."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository carries. Needs a pinned revision."""


class QuantizationSpec(Spec):
    """4-bit weights through bitsandbytes."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """Data type of the 4-bit weights."""
    use_bnb_nested_quant: bool = True
    """Quantize the quantization constants as well (double quantization)."""


class TaskSpec(Spec):
    """One task and how it is asked."""

    task: str
    """`own` for the user's held-out data, or any lm-evaluation-harness task or group by name."""
    num_fewshot: int | None = Field(None, ge=0)
    """Examples before each question; without it, the task's own default."""
    limit: int | None = Field(None, gt=0)
    """Score only the first so many items of each task."""
    apply_chat_template: bool = False
    """Ask through the model's chat template. The user's own data follow `data.apply_chat_template` instead."""
    generate: bool = True
    """For `own` only: let the model write answers. Without it only the loss is scored, which is much cheaper."""


class ScoringSpec(Spec):
    """How every model of a study is scored; one policy, the baseline included."""

    batch_size: int = Field(8, gt=0)
    """Sequences per forward pass. Pinned, because scores move with it."""
    max_new_tokens: int | None = Field(None, gt=0)
    """Longest generated answer on the user's own data; without it, twice the longest training answer, at least 16."""
    allow_unsafe_code: bool = False
    """Run programs that a model wrote unprotected on this machine, where they cannot be isolated."""
    seed: int = 1234
    """Seed of few-shot draws and of anything random in scoring."""


AnswerType = Literal["none", "text", "json", "label"]


class OwnRow(Spec):
    """One held-out row of the user's data, ready to be asked."""

    row: int
    """Number of the row in the user's file, counted from 1."""
    prompt: str
    """What the model reads, chat template already applied; empty for plain text."""
    completion: str
    """What a perfect model would continue with, end-of-turn marker included; the loss is taken over it."""
    answer: str
    """The completion as the user wrote it, which generated answers are compared with."""
    group: str | None = None
    """Items of one group are not independent."""


class OwnDataSpec(Spec):
    """The user's held-out rows as a task."""

    rows: Path
    """A JSONL file of `OwnRow`s."""
    answer: AnswerType
    """How answers are compared; `none` for plain text, which has only a loss."""
    labels: tuple[str, ...] = ()
    """All labels, where answers are labels."""
    constant_answers: tuple[str, ...] = ()
    """Training answers, the most frequent first: candidates for the best constant answer."""
    stop: tuple[str, ...] = ()
    """Strings that end a generated answer."""
    max_new_tokens: int = Field(64, gt=0)
    """Longest generated answer."""
