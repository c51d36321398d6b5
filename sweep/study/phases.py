"""The phases of a study, each of which does only what its records say is left.

baseline ─ the base model on the search's tasks, before any trial
search   ─ every method's trials, in turn
confirm  ─ the base model and each method's best config over fresh seeds, on the test rows

The driver runs here and touches no GPU: it asks, writes records, tells. A study that is finished starts no worker.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from optuna.storages import BaseStorage

from evals.errors import RunError
from evals.models.source import local_model
from sweep import space
from sweep.budget import trials_left
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.disk import named
from sweep.errors import StudyFailedError
from sweep.events import DataReady, Notice, OnEvent, Phase, PhaseStarted, StudyEnded
from sweep.interrupts import saving_first
from sweep.plan.fit import memory_needed, refusal
from sweep.pool.choice import Workers
from sweep.protocol import PrepareData
from sweep.record import TrialRecord
from sweep.rungs import schedule_notes
from sweep.search.method_search import MethodSearch
from sweep.search.mirror import Storage, set_damaged_aside
from sweep.selection import tasks_of
from sweep.shape import Facts
from sweep.spec import StudySpec
from sweep.store import RunDirectory
from sweep.study.company import Company
from sweep.study.dispatch import Dispatcher
from sweep.study.ending import tracked
from sweep.study.lease import leased
from sweep.study.resume import admit, admit_data
from sweep.study.seams import TrialSource, TrialTracker
from sweep.study.sources import ListSource, SearchSource
from sweep.worker import TrialRunner

CONFIRM_SEED_OFFSET = 1000
"""Finalists' seeds start so far from the search's, the same ones for every method."""
UNLUCKY = frozenset({"interrupted", "worker_died"})
"""Ends of a repetition that say nothing about its config: the next run of the study tries again."""


def run_study(  # noqa: PLR0913
    spec: StudySpec,
    *,
    run: RunDirectory,
    data_root: Path,
    cache: Path,
    on_event: OnEvent,
    tracker: TrialTracker | None = None,
    workers: Workers | None = None,
    storage: Storage | None = None,
) -> None:
    """Run a study's phases, or what is left of them.

    `storage` is Optuna's; without it, what the study names. Raises InputError where something the user gave cannot be
    used or the directory is not this study's, RunError where the base model cannot be scored, no method got a result or
    the storage stays away, and KeyboardInterrupt on Ctrl-C or SIGTERM; what ended before is kept each time.
    """
    run = RunDirectory(run.path.resolve())
    with named(run.path), leased(run), saving_first():
        space.check(spec)
        admit(run, spec)
        run.forget_states()
        if storage is None and spec.storage is None and (aside := set_damaged_aside(run.optuna_db)) is not None:
            on_event(Notice(f"optuna.db was damaged; it is kept as {aside.name}, and built anew from the records."))
        workers = workers or Workers(functools.partial(TrialRunner, cache))
        storage = storage or Storage(spec.storage or f"sqlite:///{run.optuna_db}")
        driver = Driver(spec, run, data_root=data_root, workers=workers, tracker=tracker, on_event=on_event)
        # Opened before anything is spent, and so that a server's session ends with the study.
        with storage.opened(say=lambda text: on_event(Notice(text))) as optunas, tracked(tracker), driver:
            baseline = driver.score_baseline()
            driver.confirm(driver.search(baseline, optunas))
        on_event(StudyEnded(spec.name))


class Driver:
    """One run of a study. Workers start when the first trial needs them."""

    def __init__(  # noqa: PLR0913
        self,
        spec: StudySpec,
        run: RunDirectory,
        *,
        data_root: Path,
        workers: Workers,
        tracker: TrialTracker | None,
        on_event: OnEvent,
    ) -> None:
        self._spec = spec
        self._run = run
        self._data_root = data_root
        self._tracker = tracker
        self._on_event = on_event
        self._known: Facts | None = None
        self._rows: int | None = None
        self._company = Company(spec, self._facts)
        self._pool = workers.open(run, on_event, silence_seconds=spec.silence_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def score_baseline(self) -> float:
        """Score the base model on the validation rows; gives its objective. Raises RunError where that fails."""
        config = configure_baseline(self._spec, phase="baseline", data_root=self._data_root)
        self._run_trials("baseline", [] if self._is_settled(config) else [config])
        record = self._settled_baseline(config)
        if record.objective is None:
            raise RunError(f"the base model has no {self._spec.objective.metric}, so nothing can be compared with it.")
        return record.objective

    def search(self, baseline: float, storage: BaseStorage) -> Mapping[str, TrialRecord]:
        """Run every method's search to its end; gives the finalists. Raises StudyFailedError where there is none."""
        spec = self._spec
        searches = {
            method: MethodSearch(
                spec,
                method,
                run=self._run,
                storage=storage,
                data_root=self._data_root,
                baseline=baseline,
                refuse=self._refusal,
                rows=lambda: self._rows,
            )
            for method in spec.methods
        }
        if not all(search.is_done for search in searches.values()):
            left = [trials_left(spec.budget, search.ledger.spending) for search in searches.values()]
            counted = [trials for trials in left if trials is not None]
            for note in schedule_notes(spec):
                self._on_event(Notice(note))
            self._on_event(PhaseStarted("search", sum(counted) if counted else None))
            self._dispatcher.run(SearchSource(searches, spec.objective, on_event=self._on_event, key=self._company.key))
        finalists = {method: best for method, search in searches.items() if (best := search.ledger.best) is not None}
        for method in spec.methods.keys() - finalists.keys():
            self._on_event(Notice(f"{method}: no trial completed ({self._ends(method)}), so it has no finalist."))
        if not finalists:
            ends = "; ".join(f"{method}: {self._ends(method)}" for method in spec.methods)
            raise StudyFailedError(f"no trial of any method completed. {ends}.")
        return finalists

    def confirm(self, finalists: Mapping[str, TrialRecord]) -> None:
        """Score the base model and the finalists' repetitions on the test rows."""
        seeds = self._spec.budget.confirm_seeds
        if seeds == 0:
            return
        base = configure_baseline(self._spec, phase="confirm", data_root=self._data_root)
        repetitions = [
            self._repetition(method, best, number)
            for number in range(1, seeds + 1)
            for method, best in finalists.items()
        ]
        self._run_trials("confirm", [config for config in (base, *repetitions) if not self._is_settled(config)])
        self._settled_baseline(base)

    def _repetition(self, method: str, best: TrialRecord, number: int) -> TrialConfig:
        return configure(
            self._spec,
            method,
            best.config.params,
            phase="confirm",
            number=number,
            seed=self._spec.seed + CONFIRM_SEED_OFFSET + number,
            data_root=self._data_root,
        )

    def _run_trials(self, phase: Phase, configs: Sequence[TrialConfig]) -> None:
        if configs:
            self._on_event(PhaseStarted(phase, len(configs)))
            source: TrialSource = ListSource(
                configs, self._spec.objective, needs_objective=phase == "baseline", key=self._company.key
            )
            self._dispatcher.run(source)

    def _is_settled(self, config: TrialConfig) -> bool:
        """Whether a record says that this very config is done with. More budget may have chosen another finalist."""
        record = self._run.directory_of(config).read_record()
        if record is None or record.config_fingerprint != config.fingerprint():
            return False
        if record.failure is None:
            return True
        return config.method is not None and record.failure.kind not in UNLUCKY

    def _settled_baseline(self, config: TrialConfig) -> TrialRecord:
        record = self._run.directory_of(config).read_record()
        if record is None or record.failure is not None:
            reason = "it left no record" if record is None or record.failure is None else record.failure.message
            raise RunError(f"the base model could not be scored on the {config.split} rows: {reason}")
        return record

    def _ends(self, method: str) -> str:
        records = self._run.search_records(method)
        ends = Counter(record.state if record.failure is None else record.failure.kind for record in records)
        messages = [record.failure.message for record in records if record.failure is not None]
        counted = ", ".join(f"{count} {end}" for end, count in ends.items()) or "none was run"
        return f"{counted}; last: {messages[-1].rstrip('.')}" if messages else counted

    @functools.cached_property
    def _dispatcher(self) -> Dispatcher:
        """The dispatcher, with the data prepared and found to be those that the study began with."""
        dispatcher = Dispatcher(
            self._pool,
            self._run,
            data_for=self._data_for,
            tracker=self._tracker,
            on_event=self._on_event,
            seats=self._company.seats,
            save_seconds=self._spec.save_seconds,
            memory=self._memory,
        )
        prepared = dispatcher.prepare(
            self._data_for(configure_baseline(self._spec, phase="baseline", data_root=self._data_root))
        )
        self._known = prepared.facts
        self._rows = prepared.rows["train"]
        data = {
            "rows": dict(prepared.rows),
            "sha256": dict(prepared.sha256),
            "dropped": list(prepared.dropped),
            "prepare_seconds": round(prepared.seconds, 3),
        }
        admit_data(self._run, prepared.environment, data)
        self._on_event(DataReady(prepared.rows, prepared.dropped))
        return dispatcher

    def _facts(self) -> Facts | None:
        """What memory can be reckoned from, with the largest device that there is or has been: workers come and go."""
        self._known = self._known and self._pool.largest(self._known)
        return self._known

    def _refusal(self, config: TrialConfig) -> str | None:
        """Why a config cannot fit. It is asked while trials run, by when the first worker has said what there is."""
        facts = self._facts()
        return None if facts is None else refusal(config, facts)

    def _memory(self, config: TrialConfig) -> float | None:
        facts = self._facts()
        return None if facts is None else memory_needed(config, facts)

    def _data_for(self, config: TrialConfig) -> PrepareData:
        return PrepareData(
            model=local_model(config.model, config.scoring.data_root),
            data=config.data,
            data_root=config.data_root,
            max_length=config.max_length,
            directory=self._run.data,
            seed=self._spec.seed,
            search_tasks=tasks_of(self._spec.evaluation, "search"),
            confirm_tasks=tasks_of(self._spec.evaluation, "confirm"),
            scoring=config.scoring,
            hub=config.scoring.data_root,
        )
