"""The fields of `report.json`.

Trials are named by their directories within the run directory, and so are all files. A number that is none, as the
loss of a diverged trial, is written as the string "NaN" or "Infinity". `schema_version` grows when a field goes away
or changes its meaning; new fields may come at any time.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from evals.spec import ModelSpec
from reports.statistics import IntervalKind
from reports.verdict import Verdict
from sweep.spec import MethodSpec, Params

Kind = Literal["method", "base model", "constant answer"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Score(_Part):
    """One score of a method, of the base model, or of the best constant answer."""

    name: str
    """Name of the method, or `base model`, or `best constant answer`."""
    kind: Kind
    """What has the score."""
    metric: str
    """`task/metric`, and a filter after a comma where it is not `none`."""
    split: str
    """Part of the user's data that it comes from."""
    value: float
    """Mean over seeds."""
    item_stderr: float | None
    """Standard error over items, clustered where they share groups."""
    seed_sd: float | None
    """Standard deviation between seeds; none with fewer than two."""
    seeds: int
    """Trained models that the mean is over."""
    items: int
    """Items that each of them answered."""
    low_95: float | None
    """Lower end of the 95 % interval, from both kinds of noise."""
    high_95: float | None
    """Upper end of it."""
    interval: IntervalKind | None
    """What the items' part of that interval is; none without an interval."""
    groups: int | None
    """Groups by which the error over items is clustered; none where items are independent."""
    higher_is_better: bool
    """Direction of the metric."""
    trials: tuple[str, ...]
    """Trials that it comes from."""


class MethodCost(_Part):
    """What a method took: one run of it, over the trials that its scores come from, and its search."""

    method: str
    """Name of the method."""
    train_seconds: float | None
    """Mean wall time of training."""
    peak_memory_bytes: int | None
    """Largest peak, on the GPU where there is one."""
    on_device: bool
    """Whether that is memory of a GPU."""
    trainable_share: float | None
    """Trained parameters over all."""
    tokens_per_second: float | None
    """Mean speed of training."""
    checkpoint_bytes: float | None
    """Mean size of what is saved."""
    training_flops: float | None
    """Mean floating-point operations of training, estimated."""
    energy_joules: float | None
    """Mean energy of a run with its scoring; none where the machine did not tell."""
    train_price: float | None
    """Price of training once; none without a price of the hour."""
    currency: str | None
    """Of the prices."""
    search_trials: int
    """Trials of the search that ran."""
    search_device_seconds: float
    """Time in which they held a device."""
    search_price: float | None
    """Price of that time."""
    search_tokens: int | None
    """Tokens trained on in the search; none unless every trial says so."""
    search_energy_joules: float | None
    """Energy of the search; none unless it is known of each trial."""
    trials: tuple[str, ...]
    """Trials that these come from."""


class TimeUse(_Part):
    """Where the time of a method, of the base model or of the whole study went, and what training made of it."""

    name: str
    """Name of the method, `base model`, or `whole study`."""
    runs: int
    """Trials and scorings that ran."""
    seconds: Mapping[str, float]
    """By part, added up over them; what no part accounts for is `waiting and other`."""
    tokens: int
    """Trained on, padding not counted."""
    positions: int | None
    """Token positions computed in training, padding included; none unless every trial counted them."""
    training_flops: float
    """Floating-point operations for the tokens, estimated."""
    computed_flops: float | None
    """The same with padding."""
    roofline_share: float | None
    """Median share of what a matrix product reached on the same device; none where that was not measured."""


class Trial(_Part):
    """One trial or baseline."""

    trial: str
    """Its directory."""
    phase: str
    """baseline, search or confirm."""
    method: str | None
    """Name of the method; none for the base model."""
    number: int
    """Number within its method and phase."""
    seed: int
    """Seed of the adapter's start, the data order and dropout."""
    split: str
    """Part of the user's data that it was scored on."""
    params: Params
    """What the sampler chose."""
    method_spec: MethodSpec | None
    """The method with those params filled in."""
    config: str
    """File that it can be run again from."""
    outcome: Mapping[str, JsonValue]
    """Its `record.json` without config, environment and traceback: state, scores, training, times, memory, data."""
    items: Mapping[str, str]
    """Per-item files by task, in lm-evaluation-harness's format."""
    commands: Mapping[str, str]
    """From beside the directory of runs: `score` scores what was saved again, `train` runs the config again."""


class Report(_Part):
    """One study's report in numbers."""

    schema_version: Literal[1] = 1
    """Version of these fields."""
    study: str
    """Name of the study."""
    run: str
    """The run directory, as the commands name it."""
    model: ModelSpec
    """The base model."""
    data: str
    """The user's data file, or the name of a data set."""
    data_sha256: Mapping[str, str]
    """Fingerprint of the rows of each split."""
    rows: Mapping[str, int]
    """Rows of each split, where they are known."""
    objective: str
    """What the search optimized, on the validation split."""
    direction: Literal["maximize", "minimize"]
    """Which way."""
    metric: str | None
    """What methods are ranked by; none where nothing was scored."""
    split: str
    """Where the scores come from: test, or validation until there are any."""
    ranking: tuple[str, ...]
    """Methods that have the deciding score, the highest ranked first; whether they differ, verdicts say."""
    answer: tuple[str, ...]
    """The answer in sentences, cautions included."""
    missing: tuple[str, ...]
    """What is not there, in sentences."""
    scores: tuple[Score, ...]
    """Every score."""
    costs: tuple[MethodCost, ...]
    """What each method took."""
    time: tuple[TimeUse, ...]
    """Where the time went."""
    prepare_seconds: float | None
    """Wall time of preparing the data before the first trial; none where it was not noted."""
    verdicts: tuple[Verdict, ...]
    """Every comparison."""
    trials: tuple[Trial, ...]
    """Every trial and baseline that left a record."""
    environment: Mapping[str, str]
    """Versions and hardware."""
