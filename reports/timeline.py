"""What ran when, and where the time went, from when each trial began and how long its parts took.

Long stretches in which nothing ran, such as a night between an interruption and its resumption, are taken out of the
clock, so that the work fills the picture.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports import wording
from reports.contrast import BASE_MODEL
from reports.document import Block, Column, Paragraph, Table
from reports.gather import Gathered
from sweep.record import TrialRecord

PARTS = ("load", "data", "train", "validate", "wait", "save", "score")
WAITING = "waiting and other"
WHOLE_STUDY = "whole study"
LONGEST_GAP = 0.05
"""A pause longer than this share of the time in which something ran is taken out."""
SHORTEST_PAUSE_SECONDS = 60.0
MOST_LANES = 8


@dataclass(frozen=True, slots=True)
class Span:
    """One trial's time."""

    record: TrialRecord
    start: float
    """Seconds of the clock without pauses, from the first trial's beginning."""
    end: float
    lane: int
    """Place among trials of its row that ran at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """A method, or the base model, and its trials by time."""

    name: str
    spans: tuple[Span, ...]

    @property
    def lanes(self) -> int:
        """Trials that ran at once, at most."""
        return 1 + max((span.lane for span in self.spans), default=0)


@dataclass(frozen=True, slots=True)
class Pause:
    """A stretch in which nothing ran."""

    at: float
    """Seconds of the clock without pauses."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole study's time."""

    rows: tuple[Row, ...]
    pauses: tuple[Pause, ...]
    seconds: float
    """Length of the clock without pauses."""


def parts_of(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Seconds by part, summed over trials; what no part accounts for last."""
    named = [*PARTS, *sorted({part for record in records for part in record.seconds} - set(PARTS))]
    found = {part: sum(max(0.0, record.seconds.get(part, 0.0)) for record in records) for part in named}
    found[WAITING] = sum(max(0.0, record.seconds_total - sum(record.seconds.values())) for record in records)
    return {part: seconds for part, seconds in found.items() if seconds > 0}


def part_names(found: Sequence[Mapping[str, float]]) -> list[str]:
    """The parts that took time anywhere, in the order of a trial, what no part accounts for last."""
    known = {part for parts in found for part in parts}
    order = [*PARTS, *sorted(known - {*PARTS, WAITING}), WAITING]
    return [part for part in order if part in known]


def rows_of(gathered: Gathered) -> list[tuple[str, list[TrialRecord]]]:
    """The base model and each method with all that ran of them; a reused trial did not run."""
    base = [record for record in (gathered.baseline, gathered.confirm_baseline) if record is not None]
    named = [(BASE_MODEL, base), *((method.name, [*method.search, *method.confirm]) for method in gathered.methods)]
    ran = [(name, [record for record in records if record.reused_from is None]) for name, records in named]
    return [(name, records) for name, records in ran if records]


def rows_and_sum(gathered: Gathered) -> list[tuple[str, list[TrialRecord]]]:
    """The same, and where there are several, all of them together last."""
    rows = rows_of(gathered)
    whole = [(WHOLE_STUDY, [record for _, found in rows for record in found])]
    return rows + whole if len(rows) > 1 else rows


def timeline(gathered: Gathered) -> Timeline | None:
    """Lay out a study's time; none where nothing ran."""
    rows = rows_of(gathered)
    records = [record for _, found in rows for record in found]
    if not records:
        return None
    origin = min(record.started_at for record in records)
    begun = {id(record): (record.started_at - origin).total_seconds() for record in records}
    busy = _merged([(begun[id(record)], begun[id(record)] + record.elapsed_seconds) for record in records])
    pauses = _pauses(busy)
    laid = [
        Row(name, _in_lanes([_span(record, begun[id(record)], pauses) for record in found])) for name, found in rows
    ]
    cut = sum(pause.seconds for pause in pauses)
    shown = tuple(replace(pause, at=_without(pause.at, pauses)) for pause in pauses)
    return Timeline(tuple(laid), shown, busy[-1][1] - cut)


def time_blocks(gathered: Gathered) -> list[Block]:
    """Where each method's time went, as a table; then the pauses."""
    found = [(name, len(records), parts_of(records)) for name, records in rows_and_sum(gathered)]
    if not found:
        return []
    named = part_names([parts for _, _, parts in found])
    columns = [Column("what"), Column("runs", "number"), *(Column(part, "number") for part in named)]
    rows = [
        [name, f"{count:,}", *(_cell(parts, part) for part in named), wording.duration(sum(parts.values()))]
        for name, count, parts in found
    ]
    caption = (
        "Time by part, summed over all that ran of a method: search, repetitions, and trials that failed or were "
        "pruned. Waiting and other: what no part accounts for."
    )
    if gathered.prepare_seconds is not None:
        caption += f" Preparing the data before them took {wording.duration(gathered.prepare_seconds)}."
    blocks: list[Block] = [Table([*columns, Column("total", "number")], rows, caption)]
    laid = timeline(gathered)
    if laid is not None and laid.pauses:
        text = f"Nothing ran for {wording.duration(sum(pause.seconds for pause in laid.pauses))} in all, in "
        blocks.append(Paragraph(f"{text}{wording.counted(len(laid.pauses), 'pause')}.", "note"))
    return blocks


def _cell(parts: dict[str, float], part: str) -> str:
    if part not in parts:
        return wording.NONE
    return f"{wording.duration(parts[part])} ({wording.percent(round(parts[part] / sum(parts.values()), 2))})"


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _pauses(busy: Sequence[tuple[float, float]]) -> list[Pause]:
    longest = max(SHORTEST_PAUSE_SECONDS, LONGEST_GAP * sum(end - start for start, end in busy))
    gaps = [(end, start - end) for (_, end), (start, _) in itertools.pairwise(busy)]
    return [Pause(at, seconds) for at, seconds in gaps if seconds > longest]


def _without(moment: float, pauses: Sequence[Pause]) -> float:
    return moment - sum(pause.seconds for pause in pauses if pause.at + pause.seconds <= moment)


def _span(record: TrialRecord, start: float, pauses: Sequence[Pause]) -> Span:
    begun = _without(start, pauses)
    return Span(record, begun, begun + record.elapsed_seconds, 0)


def _in_lanes(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Give each trial the first lane that is free when it begins; the last lane takes all that is left."""
    free: list[float] = []
    placed = []
    for span in sorted(spans, key=lambda span: (span.start, span.record.config.number)):
        lane = next((place for place, until in enumerate(free) if until <= span.start), len(free))
        lane = min(lane, MOST_LANES - 1)
        if lane == len(free):
            free.append(span.end)
        else:
            free[lane] = max(free[lane], span.end)
        placed.append(replace(span, lane=lane))
    return tuple(placed)
