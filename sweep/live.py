"""The view of a running study: live on a terminal; elsewhere one plain line for each thing that happened."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sweep.display import objective, outcome, trial_name, trial_table, varied
from sweep.errors import OutputError
from sweep.events import (
    DataReady,
    Event,
    Notice,
    OnEvent,
    PhaseStarted,
    SpaceExhausted,
    StudyEnded,
    TrialEnded,
    TrialProgress,
    TrialRung,
    TrialStarted,
)
from sweep.options import PlainConsole, complaints
from sweep.record import TrialRecord
from sweep.spec import StudySpec

ROWS_SHOWN = 12
PHASES = {
    "baseline": "scoring the base model",
    "search": "searching for each method's best config",
    "confirm": "confirming the best configs on the test rows",
}


@contextmanager
def study_display(spec: StudySpec, console: PlainConsole) -> Iterator[OnEvent]:
    """Show a running study: live on a terminal, plain lines elsewhere. It goes on where nobody looks any more."""
    if not console.is_terminal:
        yield _while_seen(_saying_of_nothing(lambda event: _print_line(console, event, spec)), console)
        return
    view = LiveView(spec, console)
    with Live(view.render(), console=console, refresh_per_second=4) as live:

        def show(event: Event) -> None:
            view.take(event)
            live.update(view.render())

        yield _while_seen(_saying_of_nothing(show), console)


def _saying_of_nothing(show: OnEvent) -> OnEvent:
    """Show events, and say so where a study ends that had nothing left to run."""
    had_work = False

    def show_all(event: Event) -> None:
        nonlocal had_work
        had_work = had_work or isinstance(event, PhaseStarted)
        if isinstance(event, StudyEnded) and not had_work:
            show(Notice("Nothing was left to run. A larger budget in the study file goes on from here."))
        show(event)

    return show_all


def _while_seen(show: OnEvent, console: PlainConsole) -> OnEvent:
    """Show events until that fails: a reader that left, or a full disk below a log, is no reason to end a study."""

    def show_if_seen(event: Event) -> None:
        if console.quiet:
            return
        try:
            show(event)
        # Rich asks to exit where a pipe is not read any more.
        except (OutputError, OSError, SystemExit):
            console.fall_silent()
            complaints.print(
                "Standard output cannot be written any more; the study goes on, and `sweep status` shows it."
            )

    return show_if_seen


class LiveView:
    """The live view: bars for the phase and for each running trial, over a table of the latest trials."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._ended: list[TrialRecord] = []
        self._phase_bar = _bar(MofNCompleteColumn())
        self._trial_bars = _bar(MofNCompleteColumn())
        self._phase: TaskID | None = None
        self._running: dict[str, TaskID] = {}

    def take(self, event: Event) -> None:
        """Bring the view up to date with one event."""
        match event:
            case PhaseStarted(phase, trials):
                if self._phase is not None:
                    self._phase_bar.remove_task(self._phase)
                self._phase = self._phase_bar.add_task(PHASES[phase], total=trials)
            case TrialStarted(config):
                self._running[trial_name(config)] = self._trial_bars.add_task(f"  {trial_name(config)}", total=None)
            case TrialProgress(config, part, done, total):
                if (bar := self._running.get(trial_name(config))) is not None:
                    name = f"  {trial_name(config)}: {part}"
                    self._trial_bars.update(bar, description=name, completed=done, total=total)
            case TrialEnded(record):
                self._end(record)
            case TrialRung() | StudyEnded():
                pass
            case _:
                _print_line(self._console, event, self._spec)

    def render(self) -> RenderableType:
        """The view as it is now."""
        parts: list[RenderableType] = []
        if self._ended:
            parts.append(trial_table(self._ended[-ROWS_SHOWN:], self._spec))
        return Group(*parts, self._phase_bar, self._trial_bars)

    def _end(self, record: TrialRecord) -> None:
        self._ended.append(record)
        if (bar := self._running.pop(trial_name(record.config), None)) is not None:
            self._trial_bars.remove_task(bar)
        if self._phase is not None and record.was_run:
            self._phase_bar.advance(self._phase)


def _bar(counter: MofNCompleteColumn) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(bar_width=30), counter, TimeElapsedColumn())


def _print_line(console: Console, event: Event, spec: StudySpec) -> None:
    line = _line(event, spec)
    if line is not None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _line(event: Event, spec: StudySpec) -> str | None:
    """One plain line for an event; none for those too frequent to print."""
    match event:
        case PhaseStarted(phase, trials):
            to_run = "until the budget is spent" if trials is None else f"{trials} to run"
            return f"{phase}: {PHASES[phase]} ({to_run})"
        case DataReady(rows, dropped):
            counts = ", ".join(f"{count} {split}" for split, count in rows.items())
            return f"data: {counts} rows" + (f"; {len(dropped)} left out" if dropped else "")
        case TrialEnded(record):
            value = objective(record, spec)
            score = f"  {spec.objective.metric} {value}" if value else ""
            seconds = f"  {record.seconds_total:.0f} s"
            why = f"  {record.failure.message}" if record.failure is not None else ""
            params = varied(record.config.params)
            shown = f"  {params}" if params else ""
            return f"{trial_name(record.config)}: {outcome(record)}{score}{seconds}{shown}{why}"
        case SpaceExhausted(method, trials):
            return f"{method}: no new config left to try after {trials} trials"
        case Notice(message):
            return message
        case _:
            return None
