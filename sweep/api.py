"""Studies from Python: what the commands do, as functions.

    from pathlib import Path
    from sweep import api

    study = Path("tickets.yaml")
    run = api.run_study(api.load_study(study), data_root=study.parent)
    api.read_run(run.directory.path).trials        # a pandas table, one row a trial

Importing this module, checking a study and reading a run load no torch; running and scoring do, in their own time.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from evals.result import EvalResult
from evals.spec import OUR_TASKS, ModelSpec, OwnDataSpec, QuantizationSpec, ScoringSpec, TaskSpec
from evals.tasks.names import known_tasks, refuse_unknown
from sweep import disk
from sweep.connections import connection_problems, connections
from sweep.data.check import check_files
from sweep.environment import capabilities as machine_capabilities
from sweep.errors import InputError, TaskError
from sweep.events import Notice, OnEvent
from sweep.options import PoolName
from sweep.planning import plan_run, plan_study
from sweep.record import TrialRecord
from sweep.scoring import DEFAULT_CACHE, own_data, score_trial
from sweep.spec import StudySpec
from sweep.status import RunStatus, read_status
from sweep.store import RunDirectory
from sweep.study_file import reader

if TYPE_CHECKING:
    from pandas import DataFrame

    from reports.compare import Comparison as ScoreComparison
    from sweep.progress import Progress
    from sweep.rerun.comparison import Comparison

__all__ = [
    "Run",
    "build_report",
    "check_study",
    "combine_reports",
    "compare",
    "load_study",
    "machine_capabilities",
    "own_data",
    "plan_run",
    "plan_study",
    "read_run",
    "refuse_problems",
    "rerun_trial",
    "run_study",
    "score_model",
    "score_trial",
    "study_schema",
]


@dataclass(frozen=True)
class Run:
    """A run directory as tables for a notebook."""

    directory: RunDirectory
    """Where its files are."""

    @cached_property
    def trials(self) -> "DataFrame":
        """One row a trial: its params, state, objective, scores, times and memory."""
        from reports import table

        return table.trials(self.directory)

    @cached_property
    def steps(self) -> "DataFrame":
        """One row a training step or validation of each trial."""
        from reports import table

        return table.steps(self.directory)

    @cached_property
    def items(self) -> "DataFrame":
        """One row an item, task and trial: what was asked for, what was answered, and its scores."""
        from reports import table

        return table.items(self.directory)

    @property
    def status(self) -> RunStatus:
        """Phase, trials by state, best so far, time left."""
        return read_status(self.directory)

    @property
    def baseline(self) -> TrialRecord | None:
        """The base model on the test split."""
        return self.directory.confirm_baseline.read_record()

    @property
    def finalists(self) -> Mapping[str, Sequence[TrialRecord]]:
        """Repetitions of each method's best config on the test split."""
        return {name: self.directory.confirm_records(name) for name in self.directory.read_study().methods}


def load_study(path: Path, overrides: Sequence[str] = (), *, data_root: Path | None = None) -> StudySpec:
    """Read a study file, `a.b=c` overrides put over it. Raises StudyFileError with everything wrong at once.

    Its data files lie in `data_root`; without it, beside the study file.
    """
    return reader.load(path, overrides, data_root=data_root)


def study_schema() -> dict[str, object]:
    """JSON schema of the study file, for editors."""
    return reader.json_schema()


def check_study(path: Path, overrides: Sequence[str] = (), *, data_root: Path | None = None) -> StudySpec:
    """Validate a study, its data, tasks and search without loading a model. Raises InputError with all complaints."""
    spec = load_study(path, overrides, data_root=data_root)
    refuse_problems(spec, data_root or path.parent, ask_tracking=True)
    return spec


def refuse_problems(spec: StudySpec, data_root: Path, *, ask_tracking: bool = False) -> None:
    """Raise InputError with everything about a study that would stop it; with `ask_tracking`, MLflow's database too."""
    from sweep import space

    problems = _data_problems(spec, data_root) + connection_problems(spec, os.environ, ask_tracking=ask_tracking)
    asked = {task.task for task in (*spec.evaluation.search, *spec.evaluation.confirm)} - set(OUR_TASKS)
    known = known_tasks() if asked else frozenset()
    for check in [partial(space.check, spec), *(partial(refuse_unknown, task, known) for task in sorted(asked))]:
        try:
            check()
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


def _data_problems(spec: StudySpec, data_root: Path) -> list[str]:
    """Complaints about the user's rows, read from where the study will read them."""
    benchmarks = spec.evaluation.scoring.data_root
    if benchmarks is None:
        return check_files(spec.data, data_root, seed=spec.seed)
    from evals.offline import reading_from

    try:
        with reading_from((data_root / benchmarks).resolve()):
            return check_files(spec.data, data_root, seed=spec.seed)
    except TaskError as error:
        return [str(error)]


def run_study(  # noqa: PLR0913
    spec: StudySpec,
    *,
    data_root: Path,
    runs: Path = Path("runs"),
    cache: Path | None = None,
    devices: Sequence[str] | None = None,
    pool: PoolName = "local",
    address: str = "auto",
    workers: int | None = None,
    on_event: OnEvent | None = None,
) -> Run:
    """Run a study, or go on where it stopped, and build its report.

    `data_root` holds its data. `devices` are the GPUs to use, all of them without it, as many for a worker as a method
    has `num_processes`; with the pool `ray` those of the cluster at `address`. Without a GPU there are `workers` on the
    CPU of each node. Raises InputError where something in it cannot be used, RunError where it fails.
    """
    refuse_problems(spec, data_root)
    reached = connections(spec, os.environ)
    # What takes seconds to import, `sweep check` and `--help` need not wait for.
    from sweep.pool.choice import choose_workers
    from sweep.search.mirror import Storage
    from sweep.study import phases
    from sweep.tracking.tracker import Tracker
    from sweep.worker import TrialRunner

    watch: OnEvent = on_event or (lambda _: None)
    directory, cache = RunDirectory(runs / spec.name), (cache or DEFAULT_CACHE.expanduser()).resolve()
    phases.run_study(
        spec,
        run=directory,
        data_root=data_root.resolve(),
        cache=cache,
        on_event=watch,
        workers=choose_workers(pool, partial(TrialRunner, cache), spec, data_root, devices, address, workers),
        tracker=Tracker(spec, directory, on_warning=lambda text: watch(Notice(text)), uri=reached.tracking)
        if spec.tracking.mlflow
        else None,
        storage=Storage(reached.storage) if reached.storage else None,
    )
    with disk.named(directory.path):
        build_report(directory)
    return Run(directory)


def build_report(run: RunDirectory) -> Path:
    """Write the report of a run and give the path of its HTML file."""
    from reports import render

    return render.build(run)


def compare(one: Path, other: Path, *, metrics: Sequence[str] = (), margin: float = 0.01) -> "ScoreComparison":
    """Give the verdict on two scores: trials, methods' directories, or what lm-evaluation-harness wrote.

    A difference of proportions below `margin` counts as none. Raises InputError where the two share nothing.
    """
    from reports import compare as comparing

    return comparing.compare(one, other, metrics=metrics, margin=margin)


def combine_reports(runs: Sequence[RunDirectory], to: Path) -> Path:
    """Compile several runs into one report in a directory and give the path of its HTML file."""
    from reports import combined

    return combined.build(runs, to)


def read_run(path: Path) -> Run:
    """Open a run directory for reading. Raises RunDirectoryError where there is none."""
    directory = RunDirectory(path)
    directory.read_study()
    return Run(directory)


def score_model(  # noqa: PLR0913
    model: ModelSpec,
    tasks: Sequence[TaskSpec],
    *,
    output: Path,
    scoring: ScoringSpec | None = None,
    adapter: Path | None = None,
    quantization: QuantizationSpec | None = None,
    own: OwnDataSpec | None = None,
    cache: Path | None = None,
    repeat: int = 1,
) -> EvalResult:
    """Score a model, with an adapter on it or not, and write lm-evaluation-harness's files into `output`.

    `own` is what the task `own` means; `own_data` makes it from a run. `repeat` scores so many times to see the noise.
    Raises TaskError and ModelError.
    """
    from evals import score

    return score.score_model(
        model,
        tasks,
        scoring or ScoringSpec(),
        cache=cache or DEFAULT_CACHE.expanduser(),
        output=output,
        own=own,
        adapter=adapter,
        quantization=quantization,
        repeat=repeat,
    )


def rerun_trial(  # noqa: PLR0913
    run: Path,
    trial: str,
    *,
    to: Path | None = None,
    data_root: Path | None = None,
    anyway: bool = False,
    trust_remote_code: bool = False,
    cache: Path | None = None,
    on_progress: "Callable[[Progress], None] | None" = None,
) -> "Comparison":
    """Run a recorded trial, such as `search/lora/0003`, again from its config alone, and compare it with its record.

    Raises InputError where there is none, where its model brings code, unless `trust_remote_code`, or where config or
    data are not those that were recorded, unless `anyway`.
    """
    from sweep.rerun import again

    return again.rerun(
        RunDirectory(run),
        trial,
        cache=(cache or DEFAULT_CACHE.expanduser()).resolve(),
        to=to,
        data_root=data_root,
        anyway=anyway,
        trust_remote_code=trust_remote_code,
        on_progress=on_progress or (lambda _: None),
    )
