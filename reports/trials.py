"""Every trial of the search in one table, and why some of them failed."""

from reports import wording
from reports.commands import source_cell
from reports.document import Block, Cell, Column, Table
from reports.gather import Gathered, MethodRecords
from reports.settings import leaf_of
from sweep.easing import described
from sweep.record import TrialRecord

MESSAGE_CHARACTERS = 400


def trials_table(gathered: Gathered) -> Table:
    """One row a trial, by method and number."""
    objective = gathered.spec.objective.metric
    records = [record for method in gathered.methods for record in method.search]
    leaves = sorted({leaf_of(name) for record in records for name in record.config.params})
    columns = [
        Column("method"),
        Column("trial", "number"),
        *(Column(leaf, "number") for leaf in leaves),
        Column("state"),
        Column(f"objective: {objective}", "number"),
        Column("validation loss", "number"),
        Column("time", "number"),
    ]
    rows: list[list[str | Cell]] = []
    best: set[int] = set()
    for method in gathered.methods:
        for record in method.search:
            if _is_best(record, method):
                best.add(len(rows))
            rows.append(_trial_row(record, leaves, gathered))
    caption = (
        "Objective ± its standard error over items, on the validation split. Each method's best trial stands out. A "
        "reused trial proposed a config that had run already, and cost nothing."
    )
    if gathered.spec.data.group is not None:
        caption += " These errors take the items for independent, which those of one group are not."
    return Table(columns, rows, caption, emphasized=frozenset(best))


def failure_table(gathered: Gathered) -> list[Block]:
    """Why trials and repetitions failed; nothing where none did."""
    rows = [
        [_where(record), record.failure.kind, wording.shorten(record.failure.message, MESSAGE_CHARACTERS)]
        for record in gathered.records
        if record.failure is not None and record.reused_from is None
    ]
    columns = [Column("what"), Column("failed as", "code"), Column("message", "code")]
    return [Table(columns, rows, "What failed.")] if rows else []


def easing_table(gathered: Gathered) -> list[Block]:
    """Which trials and repetitions were trained with less than asked; nothing where memory never ran out."""
    rows = [
        [
            _where(record),
            described(record.easing, record.config),
            wording.shorten(" ".join(record.easing.why), MESSAGE_CHARACTERS),
        ]
        for record in gathered.records
        if record.easing is not None and record.reused_from is None
    ]
    columns = [Column("what"), Column("trained"), Column("because", "code")]
    caption = (
        "What was trained with less than its config asks for, because memory ran out. Each optimizer step read the "
        "same rows, so the weights are the same up to rounding; dropout, where there was any, fell on other places."
    )
    return [Table(columns, rows, caption)] if rows else []


def state_of(record: TrialRecord) -> str:
    """A trial's state with its reason."""
    if record.reused_from is not None:
        return f"reused from {record.reused_from}"
    return record.state if record.failure is None else f"{record.state}: {record.failure.kind}"


def _trial_row(record: TrialRecord, leaves: list[str], gathered: Gathered) -> list[str | Cell]:
    objective = gathered.spec.objective.metric
    values = {leaf_of(name): value for name, value in record.config.params.items()}
    metrics = {} if record.evaluation is None else record.evaluation.metrics
    stderr = metrics[objective].stderr if objective in metrics else None
    loss = None if record.training is None else record.training.validation_loss
    return [
        record.config.method or "",
        source_cell(str(record.config.number), record, gathered),
        *(wording.setting(values[leaf]) if leaf in values else wording.NONE for leaf in leaves),
        state_of(record),
        wording.with_error(record.objective, stderr),
        wording.score(loss),
        wording.duration(record.seconds_total if record.reused_from is None else None),
    ]


def _is_best(record: TrialRecord, method: MethodRecords) -> bool:
    return method.best is not None and record.config.number == method.best.config.number


def _where(record: TrialRecord) -> str:
    config = record.config
    if config.method is None:
        return f"base model on {config.split}"
    return f"{config.method} {'trial' if config.phase == 'search' else 'seed'} {config.number}"
