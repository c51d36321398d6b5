"""A plan as a person reads it in a terminal."""

import math
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sweep.plan.ranges import Range
from sweep.plan.result import Detectable, Fit, PhaseWork, Seating, StudyPlan

GIGABYTE = 10**9
SMALL = 0.1
VERDICTS: dict[Fit, str] = {
    "fits": "fits",
    "likely": "fits, as expected",
    "unlikely": "may not fit",
    "some": "not all configs fit",
    "none": "does not fit",
}


def plan_view(plan: StudyPlan) -> RenderableType:
    """Everything that a plan says, the parts that are empty left out."""
    return Group(*(shown for part in _parts(plan) for shown in _untitled(part)))


def _untitled(part: RenderableType) -> Iterator[RenderableType]:
    """A title above its table: in the table it would be broken at the table's width."""
    if isinstance(part, Table) and part.title is not None:
        yield Text(str(part.title), style="bold")
        part.title = None
    yield part


def _parts(plan: StudyPlan) -> Iterator[RenderableType]:
    yield Text(f"{plan.study}: {plan.model}, {_count(plan.parameters)} parameters")
    for device in plan.devices:
        yield Text(f"{device.name}: {_gigabytes(device.memory_bytes)} GB, {_gigabytes(device.free_bytes)} GB free")
    if plan.rows:
        longest = max(rows.longest for rows in plan.rows.values())
        rows = [f"{rows.rows} {split}" for split, rows in plan.rows.items()]
        yield Text(f"rows: {', '.join(rows)}; {plan.rows['train'].mean:.0f} tokens each, {longest} at most")
    if plan.work:
        yield work_table(plan.work)
    yield memory_table(plan)
    yield fit_table(plan)
    if plan.seating:
        yield seating_table(plan.seating)
    if plan.timed_from is not None:
        yield hours_table(plan)
    if plan.detectable:
        yield detectable_table(plan.detectable)
    if plan.checks:
        yield checks_table(plan)
    for note in (*plan.missing, *plan.assumptions):
        yield Text(note, style="dim" if note in plan.assumptions else "yellow")


def work_table(work: Sequence[PhaseWork]) -> Table:
    """Trials and tokens by phase and method."""
    numbers = ("trials", "steps\neach", "tokens\ntrained", "tokens\nread", "tokens\nwritten")
    table = _table("What will be done", ("phase", "method"), numbers, ("items scored,\neach time",))
    # A task to a line; cut names would say nothing, and numbers can wrap.
    table.columns[-1].no_wrap = True
    for part in work:
        table.add_row(
            part.phase,
            _method(part.method),
            _trials(part),
            _spread(part.steps),
            f"{_spread(part.trial_tokens)} each" if part.train_tokens is None else _spread(part.train_tokens),
            _read(part),
            _written(part),
            escape("\n".join(f"{_items(items)} {task}" for task, items in part.scoring.items.items())),
        )
    return table


def memory_table(plan: StudyPlan) -> Table:
    """What each method's own settings need, part by part, a method a column: there are more parts than methods."""
    needs = [memory.own for memory in plan.memory]
    table = _table("Memory of training, in GB", ("part",), [escape(memory.method) for memory in plan.memory])
    for name in needs[0].parts:
        table.add_row(name, *(_gigabytes(own.parts[name].expected) for own in needs))
    table.add_row("peak", *(_gigabytes(own.peak.expected) for own in needs))
    table.add_row("peak, low to high", *(_low_to_high(own.peak) for own in needs))
    return table


def fit_table(plan: StudyPlan) -> Table:
    """Each method against each device."""
    table = _table(
        "Does it fit?", ("method",), ("cheapest", "dearest"), ("dearest config", "device", "verdict", "what would help")
    )
    for fit in plan.fits:
        memory = next(memory for memory in plan.memory if memory.method == fit.method)
        chosen = "  ".join(f"{name.rpartition('.')[2]}={value}" for name, value in memory.most_params.items())
        table.add_row(
            escape(fit.method),
            _gigabytes(memory.least.peak.expected),
            _gigabytes(memory.most.peak.expected),
            escape(chosen or "all alike"),
            escape(f"{fit.device.name}, {_gigabytes(fit.device.memory_bytes)} GB"),
            VERDICTS[fit.fit],
            escape(fit.advice or ("" if fit.fit in {"fits", "likely"} else "nothing that was tried")),
        )
    return table


def seating_table(rows: Sequence[Seating]) -> Table:
    """Which trials are trained together, how many at the same time, and what that saves."""
    table = _table("Trained together over one base model", ("phase", "method"), ("at a time", "alone"), ("because",))
    for row in rows:
        table.add_row(
            row.phase,
            escape(row.method),
            _seats(row.seats) if row.seats.high > 1 else "",
            f"{100 * row.alone:.0f} %",
            escape("; ".join(_because(row))),
        )
    return table


def _because(row: Seating) -> Iterator[str]:
    """Why not more of them sit together, why some sit alone, and what sitting together gains."""
    is_shared = row.seats.high > 1
    if is_shared:
        yield _bound(row)
    if row.reasons:
        yield f"{'alone: ' if is_shared else ''}{'; '.join(row.reasons)}"
    if is_shared:
        yield f"gain: {_saved(row)}"


def _seats(seats: Range) -> str:
    low, high = round(seats.low), round(seats.high)
    return str(high) if low == high else f"{low} to {high}"


def _bound(row: Seating) -> str:
    return row.bound if row.bases == 1 else f"{row.bound}; {row.bases} base models by what is searched"


def _saved(row: Seating) -> str:
    """Of the hours, where it was measured."""
    if row.time_ratio is None:
        return "measured while it runs"
    together, alone = row.measured
    told = f"a token takes {100 * row.time_ratio:.0f} % of its time alone ({together} trials against {alone})"
    if row.saved_hours is None:
        return told
    saved = "costs" if row.saved_hours < 0 else "saves"
    return f"{told}: {saved} {_short(abs(row.saved_hours))} hours"


def hours_table(plan: StudyPlan) -> Table:
    """Time by phase and method."""
    table = _table(f"Hours of one device, from {plan.timed_from}", ("phase", "method"), ("hours", "low to high"))
    for phase in plan.hours:
        known = phase.hours
        cells = ("not known", "") if known is None else (_short(known.expected), _low_to_high(known, unit=1))
        table.add_row(phase.phase, _method(phase.method), *cells)
    for name, found in (("all", plan.total_hours), (f"cost, {escape(plan.currency)}", plan.cost)):
        if found is not None:
            table.add_row(name, "", _short(found.expected), _low_to_high(found, unit=1))
    return table


def detectable_table(rows: Sequence[Detectable]) -> Table:
    """The smallest difference that each task can show."""
    title = "Smallest true difference between two methods that is found with 80 % power at 5 %"
    table = _table(title, ("metric",), ("items", "seeds", "difference"), ("halved by", "assuming"))
    for row in rows:
        shown = f"{100 * row.difference:.1f} points" if row.is_share else f"{row.difference:.3g}"
        table.add_row(
            escape(row.metric), f"{row.items:,}", str(row.seeds), shown, row.halved_by, escape(row.assumptions)
        )
    return table


def checks_table(plan: StudyPlan) -> Table:
    """Estimated against recorded peaks."""
    table = _table("Memory as estimated and as used, in GB", ("trial",), ("estimated", "low to high", "used", "within"))
    for check in plan.checks:
        bounds = check.estimate.recorded
        table.add_row(
            escape(check.trial),
            _gigabytes(bounds.expected),
            _low_to_high(bounds),
            _gigabytes(check.recorded_bytes),
            "yes" if check.is_within else "no",
        )
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str], remarks: Sequence[str] = ()) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    for name in remarks:
        table.add_column(name)
    return table


def _method(name: str | None) -> str:
    return "base model" if name is None else escape(name)


def _trials(part: PhaseWork) -> str:
    return "not known" if part.trials is None else _spread(part.trials)


def _read(part: PhaseWork) -> str:
    if part.scored is None or part.validation_tokens is None:
        return "not known"
    return _spread(part.scored.times(part.scoring.read_tokens) + part.validation_tokens)


def _written(part: PhaseWork) -> str:
    if part.scoring.written_tokens.high == 0:
        return ""
    return "not known" if part.scored is None else _spread(part.scored.times(part.scoring.written_tokens))


def _items(items: int | None) -> str:
    return "?" if items is None else f"{items:,}"


def _spread(amount: Range) -> str:
    """One number where it is known, else the expected one and what it may be; of the most, only what it may be."""
    if amount.high == 0:
        return ""
    if _count(amount.low) == _count(amount.high):
        return _count(amount.expected)
    if _count(amount.expected) == _count(amount.high):
        return f"{_count(amount.low)} to {_count(amount.high)}"
    return f"{_count(amount.expected)} ({_count(amount.low)} to {_count(amount.high)})"


def _low_to_high(amount: Range, *, unit: float = GIGABYTE) -> str:
    return f"{_short(amount.low / unit)} to {_short(amount.high / unit)}"


def _gigabytes(amount: float) -> str:
    return _short(amount / GIGABYTE)


def _short(amount: float) -> str:
    """Two places after the point, and of less than a tenth as many as show two digits."""
    if amount == 0:
        return "0"
    places = max(2, 1 - math.floor(math.log10(abs(amount)))) if abs(amount) < SMALL else 2
    return f"{amount:.{places}f}" if amount < 10 else f"{amount:.1f}"  # noqa: PLR2004


def _count(amount: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if amount >= size:
            return f"{amount / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{amount:,.0f}"
