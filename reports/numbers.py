"""Everything that the tables show, unrounded, as `report.json`: for programs, and for whoever wants to check."""

from collections.abc import Sequence

from pydantic import BaseModel

from reports import commands
from reports.answer import answer_blocks, missing_notes
from reports.contrast import BASE_MODEL, CONSTANT_ANSWER
from reports.costs import costs
from reports.document import Paragraph
from reports.efficiency import efficiency
from reports.fields import Kind, MethodCost, Report, Score, TimeUse, Trial
from reports.gather import Gathered
from reports.statistics import Estimate
from reports.summary import Summary
from reports.timeline import parts_of, rows_and_sum
from reports.verdict import Judgement
from sweep.record import TrialRecord


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
        time=tuple(_time_use(name, records) for name, records in rows_and_sum(gathered)),
        prepare_seconds=gathered.prepare_seconds,
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


def _time_use(name: str, records: Sequence[TrialRecord]) -> TimeUse:
    found = efficiency(name, records)
    return TimeUse(
        name=name,
        runs=len(records),
        seconds=parts_of(records),
        tokens=found.tokens,
        positions=found.positions,
        training_flops=found.flops,
        computed_flops=found.computed_flops,
        roofline_share=found.roofline_share,
    )


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
