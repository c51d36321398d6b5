"""What each phase of a study does and how long it takes, as far as anything tells.

Trials that share a device take their part of its time, which is another than what they take alone: records of both
kinds are kept apart, and where only one kind is there it stands for the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweep.budget import SECONDS_PER_HOUR
from sweep.data.prepared import PreparedData
from sweep.plan.hours import Rates, item_seconds, items_scored, phase_hours, rates_of
from sweep.plan.ranges import total
from sweep.plan.result import PhaseHours, PhaseWork, Seating
from sweep.plan.together import measured_ratio
from sweep.plan.within_hours import within_hours
from sweep.plan.work import search_work, study_work, trial_work
from sweep.record import TrialRecord
from sweep.selection import tasks_of
from sweep.shape import RowLengths
from sweep.spec import MethodSpec, StudySpec

Measured = Mapping[str | None, "MethodRates"]
"""By method; of the base model under none."""


@dataclass(frozen=True, slots=True)
class MethodRates:
    """What a method's work takes by itself and among others."""

    alone: Rates | None
    together: Rates | None
    """None where no trial that shared a device tells."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Work and time of all phases, in their order."""

    work: tuple[PhaseWork, ...] = ()
    hours: tuple[PhaseHours, ...] = ()
    seating: tuple[Seating, ...] = ()


def schedule(  # noqa: PLR0913
    spec: StudySpec,
    lengths: Mapping[str, RowLengths],
    prepared: PreparedData,
    records: Sequence[TrialRecord],
    *,
    seating: Sequence[Seating] = (),
    compared: Sequence[TrialRecord] = (),
    count_items: bool = True,
) -> Schedule:
    """Lay out a study; `records` tell how long things take, and `compared` what training together saves.

    Without `count_items` they do not tell how many items a task has, because they scored a few of them.
    """
    items = {task: count for record in records for task, count in items_scored(record).items()}
    measured = _measure(spec, lengths, prepared, records)
    work, hours, seated = [], [], []
    for planned in study_work(spec, lengths, prepared.manifest, items if count_items else {}):
        seat = next((one for one in seating if (one.phase, one.method) == (planned.phase, planned.method)), None)
        part, time = _timed(spec, lengths, planned, _clock(spec, planned, measured[planned.method], seat))
        work.append(part)
        hours.append(time)
        if seat is not None:
            seated.append(_with_gain(spec, seat, part, measured[seat.method].alone, compared, prepared))
    return Schedule(tuple(work), tuple(hours), tuple(seated))


def _measure(
    spec: StudySpec, lengths: Mapping[str, RowLengths], prepared: PreparedData, records: Sequence[TrialRecord]
) -> Measured:
    validation = {prepared.sha256["validation"]: lengths["validation"]}
    shared = [record for record in records if record.sharing is not None]
    single = [record for record in records if record.sharing is None]
    found: dict[str | None, MethodRates] = {}
    methods: list[tuple[str | None, MethodSpec | None]] = [(None, None), *spec.methods.items()]
    for name, method in methods:
        together = rates_of(shared, method, validation)
        alone = rates_of(single, method, validation) or together
        found[name] = MethodRates(_with_items(alone, records), _with_items(together, records))
    if found[None].alone is None:
        # The base model reads as fast as any model of its size.
        any_other = next((rates.alone for rates in found.values() if rates.alone is not None), None)
        found[None] = MethodRates(any_other, None)
    return found


def _with_items(rates: Rates | None, records: Sequence[TrialRecord]) -> Rates | None:
    """A task that this method was never asked takes as long as it took others."""
    return None if rates is None else replace(rates, items={**item_seconds(records), **rates.items})


def _clock(
    spec: StudySpec, planned: PhaseWork, rates: MethodRates, seat: Seating | None
) -> Callable[[PhaseWork], PhaseHours]:
    """How long work of this phase and method takes."""
    tasks = tasks_of(spec.evaluation, "search" if planned.phase in {"baseline", "search"} else "confirm")
    shared = 0.0 if seat is None or rates.together is None else 1 - seat.alone

    def hours_of(work: PhaseWork) -> PhaseHours:
        alone, together = (phase_hours(work, tasks, found) for found in (rates.alone, rates.together))
        if alone.hours is None or together.hours is None or not shared:
            return alone
        hours = total((alone.hours * (1 - shared), together.hours * shared))
        return replace(alone, hours=hours, untimed=tuple(dict.fromkeys((*alone.untimed, *together.untimed))))

    return hours_of


def _timed(
    spec: StudySpec, lengths: Mapping[str, RowLengths], planned: PhaseWork, hours_of: Callable[[PhaseWork], PhaseHours]
) -> tuple[PhaseWork, PhaseHours]:
    hours, method = spec.budget.device_hours_per_method, planned.method
    if planned.phase != "search" or method is None or hours is None:
        return planned, hours_of(planned)
    each = trial_work(spec, method, lengths)
    return within_hours(
        planned,
        hours,
        work_of=lambda trials: search_work(spec, method, each, trials, planned.scoring),
        hours_of=hours_of,
    )


def _with_gain(  # noqa: PLR0913, PLR0917
    spec: StudySpec,
    seat: Seating,
    part: PhaseWork,
    alone: Rates | None,
    records: Sequence[TrialRecord],
    prepared: PreparedData,
) -> Seating:
    """What trials that are trained together save, where such trials and others like them have run."""
    found = measured_ratio(records, spec.methods[seat.method], prepared.sha256["train"])
    if found is None or seat.seats.high == 1:
        return seat
    saved = None
    if alone is not None and alone.train_token is not None and part.train_tokens is not None:
        tokens = part.train_tokens.expected * (1 - seat.alone)
        saved = tokens * alone.train_token * (1 - found.ratio) / SECONDS_PER_HOUR
    return replace(seat, time_ratio=found.ratio, measured=(found.together, found.alone), saved_hours=saved)


def notes(spec: StudySpec, laid_out: Schedule) -> list[str]:
    """What of the hours is not known, and how to get it."""
    hours = spec.budget.device_hours_per_method
    work = {(part.phase, part.method): part for part in laid_out.work}
    found = []
    blind = [part.method for part in laid_out.work if part.trials is None]
    if blind:
        found.append(
            f"How many trials {', '.join(map(str, blind))} will run is not known: its search takes {hours:g} device "
            "hours, and until the trial ends that crosses them, but nothing tells how long a trial takes. What is said "
            "of tokens is one trial's."
        )
    unknown = [part for part in laid_out.hours if _is_unknown(part, work)]
    if unknown:
        names = ", ".join(sorted({part.method or "the base model" for part in unknown}))
        found.append(
            f"The time of {names} is not known: no trial of this model has run on this device. "
            "`sweep plan --probe` trains and scores each method for a few steps to find out."
        )
    if hours is not None and any(part.phase == "search" and part.hours is None for part in laid_out.hours):
        found.append(f"Each search is ended after {hours:g} device hours too, which may be before its last trial.")
    tasks = sorted({task for part in laid_out.hours if not _is_unknown(part, work) for task in part.untimed})
    if tasks:
        found.append(f"Hours leave out {', '.join(tasks)}: nothing here tells how long an item takes.")
    return found


def _is_unknown(part: PhaseHours, work: Mapping[tuple[str, str | None], PhaseWork]) -> bool:
    """Whether no trial tells a phase's time, its budget perhaps apart."""
    return part.hours is None or work[part.phase, part.method].trials is None


def is_measured(laid_out: Schedule) -> bool:
    """Whether any of the hours comes from trials."""
    work = {(part.phase, part.method): part for part in laid_out.work}
    return any(not _is_unknown(part, work) for part in laid_out.hours)
