"""What each method costs: one run of its finalist, and the whole search that found it.

A method's quality is bought with memory, time and money, and a search pays for its failed and pruned trials too. A
price is an hour of the device times the hours in which a trial held it; hours and energy of trials that shared a device
are each one's part. Energy that the machine did not tell is said to be so: it is not 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports import wording
from reports.document import Block, Column, Paragraph, Table
from reports.gather import Gathered, MethodRecords
from reports.summary import MethodSummary, Summary, alone
from sweep.record import TrialRecord
from sweep.spec import ReportSpec

HOUR_SECONDS = 3600
NOT_TOLD = "not told"
"""In place of an energy that no counter showed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one method takes."""

    name: str
    train_seconds: float | None
    """Training time of one run, the mean over the scored runs, as are the price and the energy of one."""
    price: float | None
    """Of training once, in the report's currency; none without a price of the hour."""
    peak_memory_bytes: int | None
    """The largest of the scored runs."""
    trainable_share: float | None
    tokens_per_second: float | None
    saved_bytes: float | None
    training_flops: float | None
    """Of one run, estimated for its tokens, padding not counted; the mean over the scored runs."""
    energy_joules: float | None
    """Of one run with its scoring; none where the machine does not tell."""
    trials: int
    """Trials of the search that ran, whatever came of them."""
    search_seconds: float
    """Device time of those trials."""
    search_price: float | None
    search_energy_joules: float | None
    """Of all trials; none unless it is known of each."""
    search_tokens: int | None
    """Tokens trained on in the search, where every trial that trained says so."""


def costs(gathered: Gathered, summary: Summary) -> list[Cost]:
    """Every method's cost, in the study file's order."""
    return [_cost(method, gathered.spec.report) for method in summary.methods]


def cost_blocks(gathered: Gathered, summary: Summary) -> list[Block]:
    """Both tables: one run, and the search."""
    found = costs(gathered, summary)
    blocks: list[Block] = []
    if any(summary_of.scored for summary_of in summary.methods):
        blocks.append(_table_of_runs(found, summary, gathered.spec.report))
    if any(cost.trials for cost in found):
        blocks.append(_table_of_searches(found, gathered.spec.report))
    if blocks and gathered.spec.report.price_per_hour is None:
        text = "No prices: report.price_per_hour of the study says what an hour of the device costs."
        blocks.append(Paragraph(text, "note"))
    return blocks


def money(value: float | None, report: ReportSpec) -> str:
    """An amount with its currency."""
    return wording.NONE if value is None else f"{value:,.2f} {report.currency}"


def energy(joules: float | None) -> str:
    """An amount of energy in watt-hours, as bills have it."""
    return NOT_TOLD if joules is None else f"{wording.number(joules / HOUR_SECONDS)} Wh"


def run_cells(cost: Cost, report: ReportSpec, memory_of: str | None = None) -> list[str]:
    """What one run takes, in a table's order, each with its unit; `memory_of` stands after the memory."""
    is_known = cost.train_seconds is not None
    return [
        wording.duration(cost.train_seconds),
        money(cost.price, report),
        wording.size(cost.peak_memory_bytes),
        *([] if memory_of is None else [memory_of]),
        wording.percent(cost.trainable_share),
        wording.number(cost.tokens_per_second),
        wording.size(cost.saved_bytes),
        wording.NONE if cost.training_flops is None else wording.scientific(cost.training_flops),
        energy(cost.energy_joules) if is_known else wording.NONE,
    ]


def device_seconds(record: TrialRecord) -> float:
    """Wall time of a trial times the devices that it held."""
    return record.seconds_total * _devices(record)


def _cost(method: MethodSummary, report: ReportSpec) -> Cost:
    records = method.records
    ran = [record for record in records.search if record.reused_from is None]
    seconds = sum(device_seconds(record) for record in ran)
    measured = alone(method.scored)
    held = [record.seconds["train"] * _devices(record) for record in measured if "train" in record.seconds]
    flops = [record.training.estimated_flops for record in measured if record.training is not None]
    energies = [joules for record in measured if (joules := _joules(record)) is not None]
    return Cost(
        name=method.name,
        train_seconds=method.train_seconds,
        price=_price(fmean(held), report) if held else None,
        peak_memory_bytes=method.peak_memory_bytes,
        trainable_share=method.trainable_share,
        tokens_per_second=method.tokens_per_second,
        saved_bytes=method.checkpoint_bytes,
        training_flops=fmean(flops) if flops else None,
        energy_joules=fmean(energies) if energies else None,
        trials=len(ran),
        search_seconds=seconds,
        search_price=_price(seconds, report),
        search_energy_joules=_all([_joules(record) for record in ran]),
        search_tokens=_tokens(records),
    )


def _price(seconds: float, report: ReportSpec) -> float | None:
    return None if report.price_per_hour is None else seconds / HOUR_SECONDS * report.price_per_hour


def _devices(record: TrialRecord) -> int:
    # Records of older versions do not name their device: a trial then held one.
    device = getattr(record, "device", None)
    return 1 if device is None else int(device.count)


def _joules(record: TrialRecord) -> float | None:
    device = getattr(record, "device", None)
    return None if device is None or device.energy_joules is None else float(device.energy_joules)


def _tokens(records: MethodRecords) -> int | None:
    ran = [record for record in records.search if record.reused_from is None and record.failure is None]
    known = [record.training.tokens for record in ran if record.training is not None]
    return sum(known) if known and len(known) == len(ran) else None


def _all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _table_of_runs(found: Sequence[Cost], summary: Summary, report: ReportSpec) -> Table:
    memory = "GPU" if summary.on_device else "host"
    columns = [
        Column("method"),
        Column("training time", "number"),
        Column("cost", "number"),
        Column(f"peak memory ({memory})", "number"),
        Column("trained share", "number"),
        Column("tokens/s", "number"),
        Column("saved size", "number"),
        Column("training FLOPs", "number"),
        Column("energy", "number"),
    ]
    rows = [[cost.name, *run_cells(cost, report)] for cost in found]
    caption = "One run of each method's best settings: means over its scored runs; memory is their largest."
    if report.price_per_hour is not None:
        caption += f" Cost: training time at {money(report.price_per_hour, report)} an hour."
    if any(cost.training_flops is not None for cost in found):
        caption += " FLOPs: estimated, 4 a parameter and token and 2 more a trained one."
    return _without_empty(Table(columns, rows, caption + _about_energy(found), stacks=True, name="costs"))


def _about_energy(found: Sequence[Cost]) -> str:
    if any(cost.energy_joules is not None or cost.search_energy_joules is not None for cost in found):
        return " Energy: the run with its scoring, whatever else ran on the device included."
    return " Energy: this machine's counters could not be read."


def _table_of_searches(found: Sequence[Cost], report: ReportSpec) -> Table:
    columns = [
        Column("method"),
        Column("trials run", "number"),
        Column("device time", "number"),
        Column("cost", "number"),
        Column("tokens trained on", "number"),
        Column("energy", "number"),
    ]
    rows = [
        [
            cost.name,
            f"{cost.trials:,}",
            wording.duration(cost.search_seconds),
            money(cost.search_price, report),
            wording.NONE if cost.search_tokens is None else f"{cost.search_tokens:,}",
            energy(cost.search_energy_joules) if cost.trials else wording.NONE,
        ]
        for cost in found
    ]
    caption = (
        "The whole search of each method, failed and pruned trials included: loading, training, validating and "
        "scoring. A reused trial ran no second time and costs nothing."
    )
    return _without_empty(Table(columns, rows, caption, stacks=True, name="search_costs"))


def _without_empty(table: Table) -> Table:
    """Leave out columns that hold nothing at all."""
    kept = [
        place
        for place in range(len(table.columns))
        if place == 0 or any(row[place] != wording.NONE for row in table.rows)
    ]
    return Table(
        [table.columns[place] for place in kept],
        [[row[place] for place in kept] for row in table.rows],
        table.caption,
        table.stacks,
        name=table.name,
    )
