"""Studies from Python: what the commands do, as functions.

    from pathlib import Path
    from sweep import api

    study = Path("tickets.yaml")
    run = api.run_study(api.load_study(study), data_root=study.parent)
    api.read_run(run.directory.path).trials        # a pandas table, one row a trial

Importing this module, checking a study and reading a run load no torch; running and scoring do, in their own time.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import studies
from evals.result import EvalResult
from evals.spec import ModelSpec, OwnDataSpec, QuantizationSpec, ScoringSpec, TaskSpec
from sweep.config import Split, TrialConfig
from sweep.data.check import check_files
from sweep.environment import Capability, capabilities
from sweep.errors import DataError, InputError, RunDirectoryError
from sweep.events import Event, Notice, OnEvent
from sweep.record import TrialRecord
from sweep.spec import DataSpec, StudySpec
from sweep.status import RunStatus, read_status
from sweep.store import RunDirectory, TrialDirectory, read_config
from sweep.study_file import reader

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "Run",
    "build_report",
    "bundled_studies",
    "check_study",
    "copy_bundled_study",
    "load_study",
    "machine_capabilities",
    "own_data",
    "read_run",
    "run_study",
    "score_model",
    "score_trial",
    "study_schema",
]

DEFAULT_CACHE = Path("~/.cache/finetune-sweep")


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
    """Validate a study and its data without loading a model. Raises StudyFileError or DataError with all complaints."""
    spec = load_study(path, overrides)
    if problems := check_files(spec.data, path.parent, seed=spec.seed):
        raise DataError("\n".join(problems))
    return spec


def run_study(
    spec: StudySpec,
    *,
    data_root: Path,
    runs: Path = Path("runs"),
    cache: Path | None = None,
    on_event: OnEvent | None = None,
) -> Run:
    """Run a study, or go on where it stopped, and build its report.

    `data_root` is the directory that the study's data paths start from. Raises InputError where something in the study
    cannot be used, RunError where the study fails; KeyboardInterrupt leaves a run that can be gone on with.
    """
    # Optuna, SQLAlchemy and matplotlib take seconds to import, which `sweep check` and `--help` need not wait for.
    from sweep import study as study_phases
    from sweep.tracking.tracker import Tracker

    def watch(event: Event) -> None:
        if on_event is not None:
            on_event(event)

    directory = RunDirectory(runs / spec.name)
    study_phases.run_study(
        spec,
        run=directory,
        data_root=data_root.resolve(),
        cache=(cache or DEFAULT_CACHE.expanduser()).resolve(),
        on_event=watch,
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


def score_trial(
    trial: Path, *, output: Path, tasks: Sequence[TaskSpec] = (), cache: Path | None = None, repeat: int = 1
) -> EvalResult:
    """Score a trial's checkpoint again, on the tasks that it was scored on unless others are named."""
    from evals import score

    cache = cache or DEFAULT_CACHE.expanduser()
    directory = TrialDirectory(trial)
    config = read_config(directory.config)
    tasks = tasks or config.tasks
    method = config.method_spec
    whole_model = method is not None and method.kind == "full"
    return score.score_model(
        config.model,
        tasks,
        config.scoring,
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


def bundled_studies() -> dict[str, str]:
    """Names of the bundled studies and the question of each."""
    return {name: studies.question(path) for name, path in studies.bundled().items()}


def copy_bundled_study(name: str, to: Path) -> list[Path]:
    """Copy a bundled study, and the data that come with it, into a directory; existing files are never overwritten."""
    bundled = studies.bundled()
    if name not in bundled:
        raise InputError(f"{name}: no such bundled study. There are: {', '.join(bundled)}.")
    source = bundled[name]
    spec = reader.load(source, check_files=False)
    sources = [source, *(path for path in _data_files(spec.data, source.parent) if path.is_file())]
    targets = [to / path.name for path in sources]
    for target in targets:
        if target.exists():
            raise InputError(f"{target}: exists already. Move it away, or copy into another directory with --to.")
    to.mkdir(parents=True, exist_ok=True)
    for path, target in zip(sources, targets, strict=True):
        shutil.copyfile(path, target)
    return targets


def _data_files(data: DataSpec, root: Path) -> list[Path]:
    grader = None if data.grader is None else data.grader.partition(":")[0]
    named = (data.train, data.validation, data.test, data.json_schema, data.sql_schema, grader)
    return [root / value for value in named if isinstance(value, str)]


def _asks_own(tasks: Sequence[TaskSpec]) -> bool:
    return any(task.task == "own" for task in tasks)


def _run_of(trial: Path) -> RunDirectory:
    for parent in trial.resolve().parents:
        if (parent / "study.yaml").is_file():
            return RunDirectory(parent)
    raise RunDirectoryError(f"{trial}: not inside a run directory; none of its parents holds a study.yaml.")


def _own_data(config: TrialConfig, *, run: RunDirectory, cache: Path) -> OwnDataSpec:
    from evals.models.load import load_tokenizer
    from sweep.data.prepare import prepare

    prepared = prepare(
        config.data,
        load_tokenizer(config.model, cache=cache),
        data_root=config.data_root,
        max_length=config.max_length,
        directory=run.data,
        seed=run.read_study().seed,
    )
    return prepared.own(config.split)
