"""Studies from Python: what the commands do, as functions.

    from pathlib import Path
    from sweep import api

    study = Path("tickets.yaml")
    run = api.run_study(api.load_study(study), data_root=study.parent)
    api.read_run(run.directory.path).trials        # a pandas table, one row a trial

Importing this module, checking a study and reading a run load no torch; running and scoring do, in their own time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from evals.result import EvalResult
from evals.spec import RENDERED_TASKS, ModelSpec, OwnDataSpec, QuantizationSpec, ScoringSpec, TaskSpec
from evals.tasks.names import known_tasks, refuse_unknown
from sweep.config import Split, TrialConfig
from sweep.data.check import check_files
from sweep.environment import Capability, capabilities
from sweep.errors import InputError, RunDirectoryError
from sweep.events import Event, Notice, OnEvent
from sweep.planning import DEFAULT_CACHE, plan_run, plan_study
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.status import RunStatus, read_status
from sweep.store import RunDirectory, TrialDirectory, read_config
from sweep.study_file import reader

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "Run",
    "build_report",
    "check_study",
    "load_study",
    "machine_capabilities",
    "own_data",
    "plan_run",
    "plan_study",
    "read_run",
    "refuse_problems",
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


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a study file, `a.b=c` overrides put over it. Raises StudyFileError with everything wrong at once."""
    return reader.load(path, overrides)


def study_schema() -> dict[str, object]:
    """JSON schema of the study file, for editors."""
    return reader.json_schema()


def check_study(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Validate a study, its data, tasks and search without loading a model. Raises InputError with all complaints."""
    spec = load_study(path, overrides)
    refuse_problems(spec, path.parent)
    return spec


def refuse_problems(spec: StudySpec, data_root: Path) -> None:
    """Raise InputError with everything about a study's data, tasks and search that would stop it, one line each."""
    from sweep import space

    problems = check_files(spec.data, data_root, seed=spec.seed)
    asked = {task.task for task in (*spec.evaluation.search, *spec.evaluation.confirm)} - set(RENDERED_TASKS)
    known = known_tasks() if asked else frozenset()
    checks = [partial(refuse_unknown, task, known) for task in sorted(asked)]
    for check in [partial(space.check, spec), *checks]:
        try:
            check()
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


def run_study(  # noqa: PLR0913
    spec: StudySpec,
    *,
    data_root: Path,
    runs: Path = Path("runs"),
    cache: Path | None = None,
    devices: Sequence[str] | None = None,
    on_event: OnEvent | None = None,
) -> Run:
    """Run a study, or go on where it stopped, and build its report.

    `data_root` is the directory that the study's data paths start from. `devices` are the GPUs to
    use, one worker each; without it, all of them. Raises InputError where something in the study
    cannot be used, RunError where the study fails; KeyboardInterrupt leaves a run that can be gone on with.
    """
    refuse_problems(spec, data_root)
    # Optuna, SQLAlchemy and matplotlib take seconds to import, which `sweep check` and `--help` need not wait for.
    from sweep.pool.local import cuda_devices
    from sweep.study import phases
    from sweep.tracking.tracker import Tracker
    from sweep.worker import TrialRunner

    def watch(event: Event) -> None:
        if on_event is not None:
            on_event(event)

    directory = RunDirectory(runs / spec.name)
    cache = (cache or DEFAULT_CACHE.expanduser()).resolve()
    devices = cuda_devices() if devices is None else devices
    phases.run_study(
        spec,
        run=directory,
        data_root=data_root.resolve(),
        cache=cache,
        on_event=watch,
        workers=phases.Workers(partial(TrialRunner, cache), devices=devices or (None,)),
        tracker=Tracker(spec, directory, on_warning=lambda text: watch(Notice(text))) if spec.tracking.mlflow else None,
    )
    build_report(directory)
    return Run(directory)


def build_report(run: RunDirectory) -> Path:
    """Write the report of a run and give the path of its HTML file."""
    from reports import render

    return render.build(run)


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


def score_trial(  # noqa: PLR0913
    trial: Path,
    *,
    output: Path,
    tasks: Sequence[TaskSpec] = (),
    cache: Path | None = None,
    benchmarks: Path | None = None,
    repeat: int = 1,
) -> EvalResult:
    """Score a trial's checkpoint again, on the tasks that it was scored on unless others are named.

    `benchmarks` takes the place of the study's `evaluation.scoring.data_root`.
    """
    from evals import score

    cache = cache or DEFAULT_CACHE.expanduser()
    directory = TrialDirectory(trial)
    config = read_config(directory.config)
    tasks = tasks or config.tasks
    scoring = config.scoring
    if benchmarks is not None:
        scoring = scoring.model_copy(update={"data_root": benchmarks.resolve()})
    method = config.method_spec
    whole_model = method is not None and method.kind == "full"
    return score.score_model(
        config.model,
        tasks,
        scoring,
        cache=cache,
        output=output,
        own=_own_data(config, run=_run_of(trial), cache=cache) if _asks_own(tasks) else None,
        adapter=directory.checkpoint if method is not None and not whole_model else None,
        checkpoint=directory.checkpoint if whole_model else None,
        quantization=None if method is None else method.quantization,
        repeat=repeat,
    )


def own_data(run: RunDirectory, split: Split, *, cache: Path | None = None) -> OwnDataSpec:
    """What the task `own` means in a run: its validation or its test rows."""
    record = run.baseline.read_record()
    if record is None:
        raise RunDirectoryError(f"{run.path}: the base model has not been scored yet, so its data are not prepared.")
    config = record.config.model_copy(update={"split": split})
    return _own_data(config, run=run, cache=cache or DEFAULT_CACHE.expanduser())


def machine_capabilities() -> list[Capability]:
    """What this machine can do, tried out one by one."""
    return capabilities()


def _asks_own(tasks: Sequence[TaskSpec]) -> bool:
    return any(task.task in RENDERED_TASKS for task in tasks)


def _run_of(trial: Path) -> RunDirectory:
    for parent in trial.resolve().parents:
        if (parent / "study.yaml").is_file():
            return RunDirectory(parent)
    raise RunDirectoryError(f"{trial}: not inside a run directory; none of its parents holds a study.yaml.")


def _own_data(config: TrialConfig, *, run: RunDirectory, cache: Path) -> OwnDataSpec:
    from evals.models.load import load_tokenizer
    from evals.models.source import local_model
    from evals.offline import reading_from
    from sweep.data.prepare import prepare

    with reading_from(config.scoring.data_root):
        prepared = prepare(
            config.data,
            load_tokenizer(local_model(config.model, config.scoring.data_root), cache=cache),
            data_root=config.data_root,
            max_length=config.max_length,
            directory=run.data,
            seed=run.read_study().seed,
        )
    return prepared.own(config.split)
