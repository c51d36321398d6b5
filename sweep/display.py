"""What a person sees in a terminal: tables of studies, trials, scores and what a machine can do."""

import textwrap
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from evals.result import EvalResult, Noise
from sweep import openings
from sweep.board import FRESH_SECONDS, Board
from sweep.budget import describe, progress
from sweep.config import TrialConfig
from sweep.connections import reach
from sweep.environment import Capability
from sweep.record import TrialRecord
from sweep.rungs import schedule_notes
from sweep.selection import division_notes
from sweep.spec import Dimension, StudySpec
from sweep.status import RunStatus

PARAM_WIDTH = 32
"""Columns of a terminal that a line of params may have."""


def trial_name(config: TrialConfig) -> str:
    """How a trial is called before a person: `lora 3`, `lora seed 1`, `base model`."""
    if config.method is None:
        return "base model"
    return f"{config.method} {'seed ' if config.phase == 'confirm' else ''}{config.number}"


def trial_table(records: Sequence[TrialRecord], spec: StudySpec) -> Table:
    """Trials, one a row: what was varied, what came of it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("varied")
    table.add_column(escape(spec.objective.metric), justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            trial_name(record.config),
            escape(varied(record.config.params)),
            objective(record, spec),
            outcome(record),
            f"{record.seconds_total:.0f}",
        )
    return table


def varied(params: Mapping[str, object]) -> str:
    """The params of a trial in one line, by the last part of their names."""
    return "  ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in params.items())


def _lines(params: Mapping[str, object]) -> list[str]:
    """The params of a trial, each on a line of its own, and those that are too long for one on several."""
    shown = (varied({name: value}) for name, value in params.items())
    return [line for param in shown for line in textwrap.wrap(param, PARAM_WIDTH)]


def outcome(record: TrialRecord) -> str:
    """State of a trial in a word; failures by their kind."""
    if record.reused_from is not None:
        return f"same as {record.reused_from}"
    return record.failure.kind.replace("_", " ") if record.failure is not None else record.state.lower()


def status_table(status: RunStatus) -> RenderableType:
    """Where a run stands."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("method", "search", "states", f"best {escape(status.spec.objective.metric)}"):
        table.add_column(name)
    # A param that is cut says nothing: each has a line of its own, and the other columns wrap between words.
    table.add_column("its params", no_wrap=True)
    table.add_column("seeds")
    for name, method in status.methods.items():
        best = method.best
        table.add_row(
            name,
            progress(status.spec.budget, method.spent),
            ", ".join(f"{count} {state}" for state, count in method.states.items()) or "none yet",
            "" if best is None or best.objective is None else f"{best.objective:.4g}",
            "" if best is None else escape("\n".join(_lines(best.config.params))),
            f"{method.seeds_done} of {status.spec.budget.confirm_seeds}",
        )
    left = "" if not status.seconds_left else f", about {_duration(status.seconds_left)} left on one worker"
    divided = [escape(note) for note in division_notes(status.spec.evaluation)]
    workers = [] if status.board is None else [_workers_table(status.board)]
    head = f"{status.spec.name}: {status.phase}{left}"
    return Group(head, table, *workers, openings.describe(status.openings), *divided)


def _workers_table(board: Board) -> Table:
    """What each worker is doing."""
    age = board.age_seconds
    old = f"as of {_duration(age)} ago; the driver may be gone" if age > FRESH_SECONDS else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=old)
    for name in ("worker", "on", "device", "doing", "for"):
        table.add_column(name)
    for line in board.workers:
        cells = (str(line.number), line.place, line.device, line.doing)
        table.add_row(*(escape(cell) for cell in cells), f"{line.seconds + age:.0f} s")
    return table


def study_summary(spec: StudySpec) -> RenderableType:
    """What a valid study will do: its methods, what is searched, and how many trials that makes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("searched", "over"):
        table.add_column(name)
    for name, dimension in spec.search_space.items():
        table.add_row(escape(name), escape(_range(dimension)))
    methods, budget = spec.methods, spec.budget
    count = f"{len(methods)} method{_s(len(methods))} ({', '.join(methods)})"
    return Group(
        f"{spec.name}: valid. {count}, {describe(budget)} each by {escape(spec.objective.metric)}, "
        f"then {budget.confirm_seeds} fresh seed{_s(budget.confirm_seeds)} for each method's best config.",
        table,
        *(escape(note) for note in (*reach(spec), *division_notes(spec.evaluation), *schedule_notes(spec))),
    )


def capability_table(capabilities: Sequence[Capability]) -> Table:
    """What this machine can do."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "here", "detail"):
        table.add_column(name)
    for capability in capabilities:
        table.add_row(capability.name, "yes" if capability.ok else "no", escape(capability.detail))
    return table


def bundled_table(studies: Mapping[str, str]) -> Table:
    """The bundled studies and the question of each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study", no_wrap=True)
    table.add_column("question")
    for name, question in studies.items():
        table.add_row(name, escape(question))
    return table


def scores_table(result: EvalResult) -> Table:
    """Scores of one model, one metric a row; where it was scored again, the share of items that flipped."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=escape("\n".join(result.notices)) or None)
    table.add_column("metric")
    repeated = ("flipped", "largest change") if result.noise else ()
    for name in ("value", "stderr", "items", "best constant answer", *repeated):
        table.add_column(name, justify="right")
    for name, metric in result.metrics.items():
        constant, noise = result.constant.get(name), result.noise.get(name)
        table.add_row(
            escape(name),
            f"{metric.value:.4f}",
            "" if metric.stderr is None else f"{metric.stderr:.4f}",
            str(metric.n),
            "" if constant is None else f"{constant.value:.4f}",
            *(_noise_cells(noise) if result.noise else ()),
        )
    return table


def _noise_cells(noise: Noise | None) -> tuple[str, str]:
    return ("", "") if noise is None else (f"{noise.flipped:.2%}", f"{noise.largest:.2g}")


def outcome_table(base: TrialRecord | None, finalists: Mapping[str, Sequence[TrialRecord]]) -> Table:
    """Test scores of the base model and the finalists, methods as columns; finalists as means over their seeds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("on the test rows")
    columns: dict[str, Sequence[TrialRecord]] = {} if base is None else {"base model": [base]}
    columns.update(finalists)
    for name in columns:
        table.add_column(name, justify="right")
    names = {name: None for records in columns.values() for record in records for name in _scores(record)}
    for metric in names:
        table.add_row(metric, *(_mean(records, metric) for records in columns.values()))
    return table


def _scores(record: TrialRecord) -> Mapping[str, float]:
    if record.evaluation is None:
        return {}
    return {name: metric.value for name, metric in record.evaluation.metrics.items()}


def _mean(records: Sequence[TrialRecord], metric: str) -> str:
    values = [scores[metric] for record in records if metric in (scores := _scores(record))]
    return f"{sum(values) / len(values):.4f}" if values else ""


def objective(record: TrialRecord, spec: StudySpec) -> str:
    """A trial's objective; for the base model, the metric that the objective is."""
    if record.objective is not None:
        return f"{record.objective:.4f}"
    metric = None if record.evaluation is None else record.evaluation.metrics.get(spec.objective.metric)
    return "" if metric is None else f"{metric.value:.4f}"


def _range(dimension: Dimension) -> str:
    if dimension.values is not None:
        return ", ".join(_short(value) for value in dimension.values)
    scale = ", log scale" if dimension.log else ""
    step = "" if dimension.step is None else f" in steps of {dimension.step:g}"
    return f"{dimension.min:g} to {dimension.max:g}{step}{scale}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else ",".join(value) if isinstance(value, tuple) else str(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes > 60 else f"{max(minutes, 1)} min"  # noqa: PLR2004 - an hour
