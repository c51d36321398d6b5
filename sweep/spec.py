"""What the user asked for, as read from a study file.

A spec says nothing about any one trial: `sweep.config` fills it with a trial's params. Key names are those of TRL and
PEFT wherever they have one, so that a setting can be carried over from a training script as it is.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from evals.spec import LabelBy, ModelSpec, QuantizationSpec, ScoringSpec, Spec, TaskSpec
from sweep.addresses import Address
from sweep.result_spec import ReportSpec as ReportSpec  # noqa: PLC0414 - one place to import a study's sections from
from sweep.result_spec import TrackingSpec as TrackingSpec  # noqa: PLC0414
from sweep.result_spec import WithinSpec as WithinSpec  # noqa: PLC0414
from sweep.search_spec import BudgetSpec as BudgetSpec  # noqa: PLC0414
from sweep.search_spec import Horizon as Horizon  # noqa: PLC0414
from sweep.search_spec import PrunerSpec as PrunerSpec  # noqa: PLC0414
from sweep.search_spec import SamplerSpec as SamplerSpec  # noqa: PLC0414

MethodKind = Literal["lora", "qlora", "full"]
Scalar = bool | int | float | str | None
ParamValue = Scalar | tuple[str, ...]
"""What a searched key can be set to: a plain value, or a list of names."""
Params = Mapping[str, ParamValue]
"""What the sampler chose for one trial, by dotted name."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A name that is also a directory: letters, digits, `.`, `_` and `-`."""

RESERVED_METHOD_NAMES = frozenset({"baseline", "report", "data"})


class DataSpec(Spec):
    """The user's rows, and how they are divided."""

    train: str
    """A JSON, JSONL, CSV or Parquet file (relative to the study file), or the name of a data set on the Hub."""
    validation: float | str = 0.1
    """Share of the training rows held out to prune and select, or a file of its own."""
    test: float | str = 0.1
    """Share held out and opened once, for the base model and the finalists, or a file of its own."""
    group: str | None = None
    """Column whose equal values stay in one split, such as a customer or a document."""
    columns: Mapping[str, str] = {}
    """Our name of a column to its name in the file, such as `{prompt: question, completion: answer}`."""
    system: str | None = None
    """System message put before every conversation that has none."""
    apply_chat_template: bool | None = None
    """Format rows with the model's chat template; without it, wherever the model has one and rows are not `text`."""
    answer: Literal["auto", "text", "json", "label", "sql"] = "auto"
    """What the answers are, which decides how they are scored; `auto` looks at the training answers."""
    label_by: LabelBy = "likelihood"
    """For labels: score the most likely label, or the one that the model writes."""
    json_schema: str | Mapping[str, JsonValue] | None = None
    """For JSON: a JSON schema that answers must follow, as a file (relative to the study file) or written here."""
    sql_schema: str | None = None
    """For SQL: the column with each row's CREATE TABLE and INSERT statements, or a .sql file for all rows."""
    grader: str | None = None
    """A function of your own that grades answers besides, as `file.py:function`; the file lies beside the study.

    It takes prompt, answer and target, all texts, and gives a number or a mapping of names to numbers: metrics, of
    which more is better.
    """
    hub_config: str | None = None
    """Configuration of a Hub data set."""
    hub_revision: str | None = None
    """Revision of a Hub data set."""
    max_rows: int | None = Field(None, gt=0)
    """Use only the first so many rows of the file, after those that do not fit are left out."""
    max_bad_rows: float = Field(0.01, ge=0)
    """Rows that may not fit before the study is refused: a share of all rows below 1, a number from 1 on."""


def is_sql_file(name: str) -> bool:
    """Whether `data.sql_schema` names a file; all else is the name of a column."""
    return name.lower().endswith(".sql")


class PeftSpec(Spec):
    """An adapter's shape, in TRL's and PEFT's key names."""

    lora_r: int = Field(16, gt=0)
    """Rank of the adapter."""
    lora_alpha: float = Field(32, gt=0)
    """Scale of the adapter: its output is multiplied by alpha / r (alpha / sqrt(r) with rsLoRA)."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the adapter."""
    lora_target_modules: str | tuple[str, ...] = "all-linear"
    """`all-linear`, or the names of the linear layers to adapt."""
    use_rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""
    init_lora_weights: bool | Literal["loftq", "gaussian", "pissa", "olora", "orthogonal"] = True
    """How the adapter starts; `loftq` makes up for the 4-bit rounding error (arXiv 2310.08659)."""


class TrainingSpec(Spec):
    """How a trial is trained, in TRL's `SFTConfig` key names."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak rate after warm-up. Unless set, 2e-4 for adapters and 2e-5 for full fine-tuning."""
    num_train_epochs: float = Field(2.0, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, gt=0)
    """Optimizer steps; overrides the epochs."""
    effective_batch_size: int = Field(16, gt=0)
    """Rows per optimizer step."""
    per_device_train_batch_size: int = Field(4, gt=0)
    """Rows per forward pass; gradients are accumulated up to the effective batch size."""
    num_processes: int = Field(1, gt=0)
    """Processes that train one trial together, each on a GPU of its own with a part of the model (FSDP)."""
    max_length: int = Field(1024, gt=1)
    """Longest row in tokens, prompt and completion together."""
    completion_only_loss: bool = True
    """Learn from the completion only. Rows of plain `text` have no prompt and are learned whole."""
    lr_scheduler_type: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "warmup_stable_decay"
    ] = "cosine"
    """Schedule of the learning rate. Unless set, `warmup_stable_decay` where a set pruner compares unequal lengths."""
    lr_scheduler_kwargs: Mapping[str, Scalar] = {}
    """Further arguments of the schedule, as transformers names them."""
    warmup_steps: float = Field(0.03, ge=0)
    """Warm-up: a share of all steps below 1, a number of steps from 1 on."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm; 0 leaves them as they are."""
    optim: str = "auto"
    """Optimizer, as transformers names them; `auto` is paged 8-bit AdamW on CUDA and AdamW elsewhere."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's second moment."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    neftune_noise_alpha: float | None = Field(None, gt=0)
    """Noise on the embeddings while training (arXiv 2310.05914)."""
    validations: int = Field(4, gt=0)
    """Times the validation loss is taken, at equal shares of the horizon; each is a rung for the pruner."""
    validation_rows: int = Field(256, gt=0)
    """Validation rows that are read each time: the same ones, spread evenly over the split; all where it has fewer."""
    horizon: Horizon | None = None
    """Rows that rungs are laid over. Unless set, those of the longest trial where the search chooses trials of
    different lengths, so that they meet at the same number of rows, and else the trial's own."""

    @property
    def micro_batch_size(self) -> int:
        """Rows per forward pass: the most that are allowed and make up an optimizer step without a rest."""
        allowed, each = range(1, self.per_device_train_batch_size + 1), self.effective_batch_size / self.num_processes
        return max((size for size in allowed if each % size == 0), default=1)

    @property
    def gradient_accumulation_steps(self) -> int:
        """Forward passes per optimizer step, of each process."""
        return max(1, self.effective_batch_size // (self.micro_batch_size * self.num_processes))

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps of one pass over so many rows, as transformers counts them."""
        batches = math.ceil(rows / (self.micro_batch_size * self.num_processes))
        return max(math.ceil(batches / self.gradient_accumulation_steps), 1)

    def planned_steps(self, rows: int) -> int:
        """Optimizer steps of a trial over so many rows, as transformers counts them."""
        return self.max_steps or math.ceil(self.num_train_epochs * self.steps_per_epoch(rows))


class MethodSpec(Spec):
    """One way to fine-tune, under comparison with the others."""

    kind: MethodKind
    """What is trained; a method named after a kind need not say it."""
    peft: PeftSpec | None = None
    """The adapter; none for full fine-tuning."""
    load_in_4bit: bool = False
    """Keep the frozen base in 4 bits; always so for qlora."""
    quantization: QuantizationSpec | None = None
    """How the 4-bit base is quantized; none where it is not."""
    training: TrainingSpec
    """The study's training settings with this method's own put over them."""


class Dimension(Spec):
    """One searched key: either `values`, or a range from `min` to `max`."""

    values: tuple[ParamValue, ...] | None = Field(None, min_length=1)
    """The choices."""
    min: int | float | None = None
    """Lower end of the range, included. A range between two integers samples integers."""
    max: int | float | None = None
    """Upper end of the range, included."""
    log: bool = False
    """Sample the range on a logarithmic scale."""
    step: int | float | None = Field(None, gt=0)
    """Distance between the values of a range."""


class EvaluationSpec(Spec):
    """What is scored in each phase, and how."""

    search: tuple[TaskSpec, ...] = (TaskSpec(task="own"),)
    """Tasks for every trial of the search; the user's own data are their validation split."""
    confirm: tuple[TaskSpec, ...] = (TaskSpec(task="own"),)
    """Tasks for the base model and the finalists; the user's own data are their test split."""
    scoring: ScoringSpec = ScoringSpec()
    """Settings that all tasks share."""
    general_text: bool | str = True
    """Take the loss on plain prose in confirm too, to see what was forgotten: on a short text that comes with this
    package, or on a text file of your own (relative to the study file)."""
    noise_floor: bool = True
    """Score the base model twice and report the share of items that flip: no smaller difference means anything."""


class ObjectiveSpec(Spec):
    """What the search optimizes: exactly one of the two."""

    maximize: str | None = None
    """A metric to maximize, as `task/metric`."""
    minimize: str | None = None
    """A metric to minimize, as `task/metric`."""

    @property
    def metric(self) -> str:
        """The optimized metric's name."""
        return self.maximize or self.minimize or "own/loss"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's direction."""
        return "maximize" if self.maximize else "minimize"


class StudySpec(Spec):
    """One study file with every default filled in."""

    name: Name
    """Name of the study, of its run directory and of its MLflow experiment."""
    model: ModelSpec
    """The base model."""
    data: DataSpec
    """The user's data."""
    methods: Mapping[Name, MethodSpec] = Field(min_length=1)
    """The methods under comparison, by name."""
    training: TrainingSpec = TrainingSpec()
    """Training settings shared by all methods."""
    search_space: Mapping[str, Dimension] = {}
    """Searched keys by their dotted names. Without it, each method's rate and, for adapters, rank."""
    starting_points: Mapping[Name, tuple[Params, ...]] = {}
    """Params to try first, by method; the method's own settings come before them."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """What is scored, and how."""
    objective: ObjectiveSpec = ObjectiveSpec()
    """What the search optimizes; without it, the loss on the validation split."""
    budget: BudgetSpec = BudgetSpec()
    """How much is spent."""
    sampler: SamplerSpec = SamplerSpec()
    """How params are proposed."""
    pruner: PrunerSpec = PrunerSpec()
    """When trials are ended early."""
    lanes: int | None = Field(None, gt=0)
    """Adapter trials that are trained together over one base model, at most; 1 trains each alone, and without it
    there are as many as pay and fit. A trial's result is the same up to rounding."""
    save_seconds: float | None = Field(600.0, ge=0)
    """Seconds between saves of a running trial, from which it goes on after an interruption; null saves none."""
    silence_seconds: float | None = Field(3600.0, gt=0)
    """Seconds without a sign of life after which a worker is ended and its trials are run again; null waits forever."""
    storage: Address | None = Field(None, repr=False)
    """Database for Optuna, as `postgresql://me:${PASSWORD}@host/db`; without it, `optuna.db` in the run directory."""
    tracking: TrackingSpec = TrackingSpec()
    """Where results are logged."""
    report: ReportSpec = ReportSpec()
    """How results are judged and shown."""
    seed: int = Field(0, ge=0)
    """Every seed of the study is derived from this one."""
