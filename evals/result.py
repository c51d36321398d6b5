"""What scoring gives: aggregate metrics here, per-item answers in lm-evaluation-harness's own files beside it.

Metric names are `task/metric`; a filter other than `none` follows after a comma, as in
`gsm8k/exact_match,strict-match`.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Metric(BaseModel):
    """One number with its error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    value: float
    """The score itself, a proportion between 0 and 1 unless its name says otherwise."""
    stderr: float | None
    """Standard error over items; none where the task gives none."""
    n: int
    """Items scored."""
    higher_is_better: bool
    """Direction of the metric."""


class Noise(BaseModel):
    """What scoring the same model again changed in one metric: differences between models below it mean nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    flipped: float
    """Share of items whose score differs."""
    largest: float
    """Largest difference between two scores of one item."""
    n: int
    """Items compared."""


class EvalResult(BaseModel):
    """Every metric of one model on some tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    metrics: Mapping[str, Metric]
    """Scores by `task/metric`."""
    constant: Mapping[str, Metric] = {}
    """The same metrics for the best constant answer to the user's own data: what no skill at all would score."""
    task_versions: Mapping[str, str]
    """Version of each task, as lm-evaluation-harness states it."""
    num_fewshot: Mapping[str, int] = {}
    """Examples before each question, by task."""
    fewshot_seed: int | None = None
    """Seed that examples were drawn with."""
    chat_template_sha256: Mapping[str, str] = {}
    """Hash of the chat template, by task that was asked through it."""
    doc_sha256: Mapping[str, str] = {}
    """Hash over the hashes of all items, by task: the same for two models that were asked the same questions."""
    samples: Mapping[str, str]
    """Per-item files by task, relative to the evaluation directory."""
    seconds: Mapping[str, float]
    """Wall time by task."""
    noise: Mapping[str, Noise] = {}
    """By `task/metric`, what scoring again changed; `task/answer` compares the answers themselves."""
    notices: tuple[str, ...] = ()
    """What a person should know before trusting the scores, such as answers that could not be graded."""
