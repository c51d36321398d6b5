"""Everything that the tables show, unrounded, as `report.json`: for programs, and for whoever wants to check.

Trials are named by their directories within the run directory, and so are all files. A number that is none, as the
loss of a diverged trial, is written as the string "NaN" or "Infinity". `schema_version` grows when a field goes away
or changes its meaning; new fields may come at any time.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from evals.spec import ModelSpec
from reports import commands
from reports.answer import answer_blocks, missing_notes
from reports.contrast import BASE_MODEL, CONSTANT_ANSWER
from reports.costs import costs
from reports.document import Paragraph
from reports.gather import Gathered
from reports.statistics import Estimate, IntervalKind
from reports.summary import Summary
from reports.verdict import Judgement, Verdict
from sweep.record import TrialRecord
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
    verdicts: tuple[Verdict, ...]
    """Every comparison."""
    trials: tuple[Trial, ...]
    """Every trial and baseline that left a record."""
    environment: Mapping[str, str]
    """Versions and hardware."""


def build_numbers(gathered: Gathered, summary: Summary, judgement: Judgement) -> Report:
    """Everything that the report is made of."""
    spec = gathered.spec
    return Report(
        study=spec.name,
        run=commands.run_place(gathered),
        model=spec.model,
        data=spec.data.train,
        data_sha256=gathered.data_sha256,
        rows={} if gathered.data is None else gathered.data.rows,
        objective=spec.objective.metric,
        direction=spec.objective.direction,
        metric=summary.metric,
        split=summary.split,
        ranking=tuple(method.name for method in summary.ranked),
        answer=tuple(
            block.text for block in answer_blocks(gathered, summary, judgement) if isinstance(block, Paragraph)
        ),
        missing=tuple(block.text for block in missing_notes(gathered) if isinstance(block, Paragraph)),
        scores=tuple(_scores(gathered, summary)),
        costs=tuple(_costs(gathered, summary)),
        verdicts=judgement.all,
        trials=tuple(_trial(record, gathered) for record in gathered.records),
        environment=gathered.environment,
    )


def to_json(report: BaseModel) -> str:
    """The report as text, the same for the same records."""
    return report.model_dump_json(indent=1) + "\n"


def _scores(gathered: Gathered, summary: Summary) -> list[Score]:
    base = gathered.confirm_baseline if summary.split == "test" else gathered.baseline
    places = () if base is None else (commands.trial_place(base, gathered),)
    found = [_score(BASE_MODEL, "base model", metric, one, summary, places) for metric, one in summary.baseline.items()]
    found += [
        _score(CONSTANT_ANSWER, "constant answer", metric, one, summary, places)
        for metric, one in summary.constant.items()
    ]
    for method in summary.methods:
        trials = tuple(commands.trial_place(record, gathered) for record in method.scored)
        found += [_score(method.name, "method", metric, one, summary, trials) for metric, one in method.scores.items()]
    return found


def _score(  # noqa: PLR0913, PLR0917
    name: str, kind: Kind, metric: str, found: Estimate, summary: Summary, trials: tuple[str, ...]
) -> Score:
    return Score(
        name=name,
        kind=kind,
        metric=metric,
        split=summary.split,
        value=found.value,
        item_stderr=found.item_stderr,
        seed_sd=found.seed_sd,
        seeds=found.seeds,
        items=found.items,
        low_95=None if found.interval is None else found.interval.low,
        high_95=None if found.interval is None else found.interval.high,
        interval=found.kind,
        groups=found.groups,
        higher_is_better=found.higher_is_better,
        trials=trials,
    )


def _costs(gathered: Gathered, summary: Summary) -> list[MethodCost]:
    report = gathered.spec.report
    return [
        MethodCost(
            method=method.name,
            train_seconds=cost.train_seconds,
            peak_memory_bytes=cost.peak_memory_bytes,
            on_device=summary.on_device,
            trainable_share=cost.trainable_share,
            tokens_per_second=cost.tokens_per_second,
            checkpoint_bytes=cost.saved_bytes,
            training_flops=cost.training_flops,
            energy_joules=cost.energy_joules,
            train_price=cost.price,
            currency=None if report.price_per_hour is None else report.currency,
            search_trials=cost.trials,
            search_device_seconds=cost.search_seconds,
            search_price=cost.search_price,
            search_tokens=cost.search_tokens,
            search_energy_joules=cost.search_energy_joules,
            trials=tuple(commands.trial_place(record, gathered) for record in method.scored),
        )
        for method, cost in zip(summary.methods, costs(gathered, summary), strict=True)
        if method.scored
    ]


def _trial(record: TrialRecord, gathered: Gathered) -> Trial:
    config, place = record.config, commands.trial_place(record, gathered)
    is_own = record.reused_from is None
    # The config holds where the data lie on this machine; its file is named instead.
    outcome = record.model_dump(mode="json", exclude={"config": True, "environment": True, "failure": {"traceback"}})
    return Trial(
        trial=place,
        phase=config.phase,
        method=config.method,
        number=config.number,
        seed=config.seed,
        split=config.split,
        params=config.params,
        method_spec=config.method_spec,
        config=f"{place}/config.yaml",
        outcome=outcome,
        items=commands.items_of(record, gathered) if is_own else {},
        commands=commands.commands_of(record, gathered) if is_own else {},
    )
