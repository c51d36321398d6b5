"""Which model is scored, on which tasks, and how: enough to repeat a score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator


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


ADDRESS = r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$"
BACKEND = "^[a-z0-9_]+$"
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
    attn_implementation: str | None = Field("sdpa", pattern=BACKEND)
    """Attention back end, as transformers names those that it brings itself; one from the Hub would be code from it."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository carries. Needs `revision` as a full commit hash."""


class QuantizationSpec(Spec):
    """4-bit weights through bitsandbytes."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """Data type of the 4-bit weights."""
    use_bnb_nested_quant: bool = True
    """Quantize the quantization constants as well (double quantization)."""


GenerationValue = bool | int | float | str | tuple[str, ...] | None
"""What a generation setting can be: a plain value, or a list of strings."""


Amount = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)]
"""A share below 1, a whole number from 1 on."""


def _share_or_number(amount: float | None) -> float | None:
    if amount is None or amount < 1:
        return amount
    if amount != int(amount):
        raise ValueError(f"limit is {amount:g}; it must be a share below 1 or a whole number")
    return int(amount)


class PortionSpec(Spec):
    """Which items of a task are asked, where a study chooses by some of them and reports on the others."""

    part: Literal["search", "confirm"]
    """Whose items: those that trials are chosen by, or all others."""
    search: Amount
    """Items of each task that belong to the search, drawn evenly: a share below 1, a number of them from 1 on."""


class TaskSpec(Spec):
    """One task and how it is asked."""

    task: str
    """`own` for the user's held-out data, `judge_pairs` or `judge_score` for answers to them that another model judges,
    `general_text` for the loss on plain prose, or any lm-evaluation-harness task or group by name."""
    num_fewshot: int | None = Field(None, ge=0)
    """Examples before each question; without it, the task's own default."""
    limit: Amount | None = None
    """Score only the first items of each task: a share of them below 1, a number of them from 1 on."""
    portion: PortionSpec | None = None
    """Which items may be asked at all. A study sets it for tasks of both its phases; a study file has none."""
    gen_kwargs: Mapping[str, GenerationValue] = {}
    """Generation settings put over the task's own, as transformers names them; `max_gen_toks` and `until` too."""
    apply_chat_template: bool = False
    """Ask through the model's chat template. The user's own data follow `data.apply_chat_template` instead."""
    generate: bool = True
    """For `own` only: let the model write answers. Without it only the loss is scored, which is much cheaper."""

    @field_validator("limit")
    @classmethod
    def _whole(cls, limit: float | None) -> float | None:
        return _share_or_number(limit)


class JudgeSpec(Spec):
    """A model behind an OpenAI-compatible endpoint that judges answers."""

    base_url: str = Field(pattern=ADDRESS)
    """Address of the endpoint, up to and without `/chat/completions`. It holds no password and no key."""
    model: str = Field(min_length=1)
    """The judge's name, as the endpoint knows it."""
    api_key_env: str | None = None
    """Environment variable that holds the endpoint's key; the key itself never stands in a file."""
    against: Path | None = None
    """An evaluation directory whose answers to the same rows are the opponents; without it, the rows' own answers."""
    timeout_seconds: float = Field(120, gt=0)
    """Longest wait for one reply."""
    attempts: int = Field(4, gt=0)
    """Tries for one verdict before the judge is taken to have failed."""
    pause_seconds: float = Field(1.0, ge=0)
    """Pause before the second try; it doubles with each further one."""
    parallel: int = Field(4, gt=0)
    """Questions asked at a time."""


Backend = Literal["hf", "vllm"]


class ScoringSpec(Spec):
    """How every model of a study is scored; one policy, the baseline included."""

    backend: Backend = "hf"
    """What computes: transformers, or vLLM where it is installed and there is a GPU."""
    batch_size: int = Field(8, gt=0)
    """Sequences per forward pass. Pinned, because scores move with it."""
    max_new_tokens: int | None = Field(None, gt=0)
    """Longest generated answer on the user's own data; without it, twice the longest training answer, at least 16."""
    allow_unsafe_code: bool = False
    """Run programs that a model wrote unprotected on this machine, where they cannot be isolated."""
    seed: int = 1234
    """Seed of few-shot draws and of anything random in scoring."""
    judge: JudgeSpec | None = None
    """Who judges, for the tasks `judge_pairs` and `judge_score`."""
    data_root: Path | None = None
    """A directory in the Hub's layout, as `sweep prefetch` makes: models and benchmarks are read from it, and nothing
    is fetched."""
    general_text: Path | None = None
    """The text that `general_text` reads; without it, the one that comes with this package."""


OWN = "own"
"""The task that is the user's own held-out rows."""
GENERAL_TEXT = "general_text"
"""The task that is the loss on plain prose, which shows what a model has forgotten."""
RENDERED_TASKS = frozenset({OWN, "judge_pairs", "judge_score"})
"""Tasks over the user's own rows, whose prompts are rendered already."""
OUR_TASKS = RENDERED_TASKS | {GENERAL_TEXT}
"""Tasks that lm-evaluation-harness does not know by itself."""

AnswerType = Literal["none", "text", "json", "label", "sql"]
LabelBy = Literal["likelihood", "generation"]


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
    sql_schema: str | None = None
    """Statements that make this row's tables, and their rows where it has some."""


class GraderSpec(Spec):
    """A Python function of the user's that grades answers."""

    file: Path
    """The file it stands in: a copy, made when the data were prepared."""
    function: str
    """Its name."""
    sha256: str
    """Hash of the file: another grader gives other scores."""


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
    label_by: LabelBy = "likelihood"
    """Where answers are labels: the most likely one counts, or the generated one."""
    json_schema: Mapping[str, JsonValue] | None = None
    """What JSON answers must look like."""
    sql_schema: str | None = None
    """Statements that make the tables of all rows that bring none."""
    grader: GraderSpec | None = None
    """A function that grades answers besides."""
