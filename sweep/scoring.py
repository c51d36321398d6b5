"""Score a trial again, or another model on a study's own rows.

Test data that are opened here are counted as those of a phase are, before anything is scored.
"""

from collections.abc import Sequence
from pathlib import Path

from evals.result import EvalResult
from evals.spec import OWN, RENDERED_TASKS, OwnDataSpec, TaskSpec
from sweep.config import Split, TrialConfig, admit_code
from sweep.errors import RunDirectoryError
from sweep.openings import model_name, record_opening, test_tasks
from sweep.store import RunDirectory, TrialDirectory, read_config

DEFAULT_CACHE = Path("~/.cache/finetune-sweep")


def score_trial(  # noqa: PLR0913
    trial: Path,
    *,
    output: Path,
    tasks: Sequence[TaskSpec] = (),
    cache: Path | None = None,
    benchmarks: Path | None = None,
    repeat: int = 1,
    trust_remote_code: bool = False,
) -> EvalResult:
    """Score a trial's checkpoint again, on the tasks that it was scored on unless others are named.

    `benchmarks` takes the place of the study's `evaluation.scoring.data_root`. Raises InputError where the model brings
    code of its own, unless `trust_remote_code`.
    """
    from evals import score

    cache = cache or DEFAULT_CACHE.expanduser()
    directory = TrialDirectory(trial)
    config = read_config(directory.config)
    admit_code(config, directory.config, trusted=trust_remote_code)
    tasks = tasks or config.tasks
    scoring = config.scoring
    if benchmarks is not None:
        scoring = scoring.model_copy(update={"data_root": benchmarks.resolve()})
    method = config.method_spec
    whole_model = method is not None and method.kind == "full"
    _note_scoring(trial, config, tasks)
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


def own_data(
    run: RunDirectory, split: Split, *, cache: Path | None = None, who: str = "a model of no trial"
) -> OwnDataSpec:
    """What the task `own` means in a run: its validation or its test rows. The latter counts as opening them."""
    record = run.baseline.read_record()
    if record is None:
        raise RunDirectoryError(f"{run.path}: the base model has not been scored yet, so its data are not prepared.")
    config = record.config.model_copy(update={"split": split})
    if split == "test":
        record_opening(run, by="eval", who=who, tasks=(OWN,))
    return _own_data(config, run=run, cache=cache or DEFAULT_CACHE.expanduser())


def _note_scoring(trial: Path, config: TrialConfig, tasks: Sequence[TaskSpec]) -> None:
    """Count test data that are opened for a trial once more; a trial taken out of its run opens nobody's."""
    run = _find_run(trial)
    opened = () if run is None else test_tasks(run.read_study(), tasks, config.split)
    if run is not None and opened:
        record_opening(run, by="eval", who=model_name(config), tasks=opened)


def _asks_own(tasks: Sequence[TaskSpec]) -> bool:
    return any(task.task in RENDERED_TASKS for task in tasks)


def _run_of(trial: Path) -> RunDirectory:
    run = _find_run(trial)
    if run is None:
        raise RunDirectoryError(f"{trial}: not inside a run directory; none of its parents holds a study.yaml.")
    return run


def _find_run(trial: Path) -> RunDirectory | None:
    found = (RunDirectory(parent) for parent in trial.resolve().parents if (parent / "study.yaml").is_file())
    return next(found, None)


def _own_data(config: TrialConfig, *, run: RunDirectory, cache: Path) -> OwnDataSpec:
    from sweep.data.for_model import prepare_for

    run.refuse_ways_out()
    prepared = prepare_for(
        config.model,
        config.data,
        data_root=config.data_root,
        max_length=config.max_length,
        directory=run.data,
        seed=run.read_study().seed if config.split_seed is None else config.split_seed,
        cache=cache,
        hub=config.scoring.data_root,
    )
    return prepared.own(config.split)
