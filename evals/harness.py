"""Score a model with lm-evaluation-harness: one call for the base model and for every trial.

Each task is asked in a call of its own, so that its batches, and with them its scores, do not depend on what else a
study asks. Every task is found and loaded before the first is asked.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evals.code.policy import code_execution
from evals.errors import RunError, TaskError
from evals.judge.tasks import JUDGED, build_judged
from evals.models.bounded import BoundsError, bounded
from evals.models.scored import ScoredModel
from evals.noise import noise_between, repeat_directory
from evals.offline import reading_from
from evals.quiet import OnProgress, quietly
from evals.recorded import doc_sha256, template_sha256
from evals.result import EvalResult, Metric
from evals.saving import replaced, start_tracker, write_files
from evals.spec import GENERAL_TEXT, OUR_TASKS, OWN, GenerationValue, OwnDataSpec, ScoringSpec, TaskSpec
from evals.tasks.general_text import build_general_text
from evals.tasks.groups import group_metrics
from evals.tasks.library import LoadedTask, TaskLibrary
from evals.tasks.own import OwnTask, build_own
from evals.tasks.portions import places
from evals.tasks.punkt import sentence_splitter


@dataclass(slots=True)
class Scores:
    """What is known of a model so far."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    constant: dict[str, Metric] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    num_fewshot: dict[str, int] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    docs: dict[str, str] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def score(  # noqa: PLR0913
    lm: HFLM,
    tasks: Sequence[TaskSpec],
    scoring: ScoringSpec,
    *,
    own: OwnDataSpec | None,
    output: Path,
    library: TaskLibrary | None = None,
    on_progress: OnProgress | None = None,
    repeat: int = 1,
) -> EvalResult:
    """Score a model on tasks and write lm-evaluation-harness's result and sample files into `output`.

    `output` is replaced whole. A library that is kept between calls spares loading benchmarks again. With `repeat` the
    model is scored so many times: the first gives the scores, all together the noise, and later files go to
    `output`/repeat-2 and so on. Raises TaskError before anything is scored, and RunError where files could not be
    written.
    """
    loaded = load_tasks(tasks, scoring, own=own, library=library or TaskLibrary())
    _check_model(lm, loaded, scoring)
    with replaced(output) as directory:
        directories = [directory, *(repeat_directory(directory, number) for number in range(2, repeat + 1))]
        runs = [_score_all(lm, loaded, scoring, where, on_progress) for where in directories]
        noise = noise_between(directories) if repeat > 1 else {}
    scores = runs[0]
    return EvalResult(
        metrics=scores.metrics,
        constant=scores.constant,
        task_versions=scores.versions,
        num_fewshot=scores.num_fewshot,
        fewshot_seed=scoring.seed,
        chat_template_sha256=scores.templates,
        doc_sha256=scores.docs,
        samples=scores.samples,
        seconds=scores.seconds,
        noise=noise,
        notices=(*scores.notices, *_memory_notices(lm)),
    )


def _memory_notices(lm: HFLM) -> tuple[str, ...]:
    if not (isinstance(lm, ScoredModel) and lm.engine.ran_out):
        return ()
    said = f"memory ran out while scoring with batch_size {lm.batch_size}: some answers were computed fewer at a time"
    return (f"{said}, which may round otherwise.",)


def load_tasks(
    tasks: Sequence[TaskSpec], scoring: ScoringSpec, *, own: OwnDataSpec | None, library: TaskLibrary
) -> list[LoadedTask]:
    """Find every task and load its data. Raises TaskError for the first that cannot be asked."""
    if not tasks:
        raise TaskError("tasks: none given. Name at least one.")
    loaded: list[LoadedTask] = []
    with quietly():
        for spec in tasks:
            build = _OURS.get(spec.task)
            mine = None if build is None else LoadedTask(spec, [build(spec, scoring, own)], (spec.task,))
            loaded.append(mine or library.load(spec, scoring))
            _refuse_repetition(loaded)
    return loaded


_OURS: Mapping[str, Callable[[TaskSpec, ScoringSpec, OwnDataSpec | None], OwnTask]] = {
    OWN: build_own,
    GENERAL_TEXT: build_general_text,
    **dict.fromkeys(JUDGED, build_judged),
}


def _refuse_repetition(loaded: Sequence[LoadedTask]) -> None:
    *earlier, last = loaded
    for other in earlier:
        for name in set(other.tasks) & set(last.tasks):
            raise TaskError(
                f"{last.spec.task}: the task {name!r} is asked already by {other.spec.task!r}. Ask each task once."
            )


def _check_model(lm: HFLM, loaded: Sequence[LoadedTask], scoring: ScoringSpec) -> None:
    if lm.batch_size != scoring.batch_size:
        raise RunError(f"The model was loaded for batches of {lm.batch_size}, but {scoring.batch_size} are asked for.")
    for task in loaded:
        if _applies_template(task) and lm.tokenizer.chat_template is None:
            raise TaskError(f"{task.spec.task}: apply_chat_template is set, but this model has no chat template.")
        if _applies_template(task):
            _try_template(lm.tokenizer, task.spec.task)
        for item in task.items:
            if isinstance(item, OwnTask) and item.generates:
                _refuse_long_answers(item, lm.max_length)


def _try_template(tokenizer: Any, task: str) -> None:  # noqa: ANN401 - transformers gives no type for all of them
    """Render a word through the chat template, a program that came with the model. Raises TaskError where it fails."""

    def greet() -> bool:
        try:
            tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - one that refuses this word may take the task's prompts
            return False
        return True

    try:
        bounded(greet)
    except BoundsError as error:
        raise TaskError(f"{task}: this model's chat template fails on a single word: {error}.") from error


def _refuse_long_answers(task: OwnTask, max_length: int) -> None:
    asked = task.config.generation_kwargs["max_gen_toks"]
    if asked >= max_length:
        raise TaskError(
            f"{task.name}: max_new_tokens is {asked}, but this model takes {max_length} tokens in all. Lower it."
        )


def _score_all(
    lm: HFLM, loaded: Sequence[LoadedTask], scoring: ScoringSpec, directory: Path, on_progress: OnProgress | None
) -> Scores:
    directory.mkdir(exist_ok=True)
    scores = Scores()
    for task in loaded:
        with (
            quietly(on_progress),
            reading_from(scoring.data_root),
            sentence_splitter(task.data_names, scoring.data_root),
            # Innermost: the metric that runs programs comes from here, wherever other metrics are read from.
            code_execution(scoring, task.read_prompts()),
        ):
            _score_task(lm, task, scoring, directory, scores)
    return scores


def _score_task(lm: HFLM, task: LoadedTask, scoring: ScoringSpec, directory: Path, scores: Scores) -> None:
    started = time.monotonic()
    tracker = start_tracker(directory)
    results = _ask(lm, task, scoring, tracker)
    samples = results.pop("samples")
    metrics = dict(_read_metrics(results)) | group_metrics(task.items, results, samples)
    for item in task.items:
        if isinstance(item, OwnTask):
            metrics = item.metrics(samples[item.name])
            scores.notices += item.take_notices()
            scores.constant |= item.constants(samples[item.name])
    scores.metrics |= metrics
    scores.versions |= {name: str(version) for name, version in results["versions"].items()}
    scores.num_fewshot |= {name: int(results["n-shot"].get(name, 0)) for name in samples}
    scores.docs |= {name: doc_sha256(rows) for name, rows in samples.items()}
    if template := _template_asked_through(lm, task):
        scores.templates |= dict.fromkeys(samples, template)
    scores.samples |= write_files(tracker, directory, results, samples)
    scores.seconds[task.spec.task] = time.monotonic() - started


def _ask(lm: HFLM, task: LoadedTask, scoring: ScoringSpec, tracker: EvaluationTracker) -> dict[str, Any]:
    asked = places(task)
    results: dict[str, Any] = simple_evaluate(
        model=lm,
        # Names the model in the files; the model itself is `lm`.
        model_args={"pretrained": Path(str(getattr(lm.config, "_name_or_path", "") or "model")).name},
        tasks=list(task.items),
        num_fewshot=task.spec.num_fewshot,
        limit=task.spec.limit if asked is None else None,
        samples=asked,
        apply_chat_template=_applies_template(task),
        gen_kwargs={name: _plain(value) for name, value in task.spec.gen_kwargs.items()} or None,
        batch_size=scoring.batch_size,
        device=str(lm.device),
        log_samples=True,
        evaluation_tracker=tracker,
        # Items are objects already: an index without the thousands of built-in tasks is enough.
        task_manager=TaskManager(include_defaults=False),
        random_seed=scoring.seed,
        numpy_random_seed=scoring.seed,
        torch_random_seed=scoring.seed,
        fewshot_random_seed=scoring.seed,
        # Refused at loading, unless isolated or allowed.
        confirm_run_unsafe_code=True,
    )
    return results


def _applies_template(task: LoadedTask) -> bool:
    return task.spec.apply_chat_template and task.spec.task not in OUR_TASKS


def _template_asked_through(lm: HFLM, task: LoadedTask) -> str | None:
    return template_sha256(lm.tokenizer.chat_template) if _applies_template(task) else None


def _plain(value: GenerationValue) -> object:
    return list(value) if isinstance(value, tuple) else value


def _read_metrics(results: Mapping[str, Any]) -> Iterator[tuple[str, Metric]]:
    """Metrics of tasks and groups. One that is not a finite number is left out: it says nothing."""
    for task, entry in results["results"].items():
        directions = results["higher_is_better"].get(task, {})
        for key, value in entry.items():
            metric, comma, filtered_by = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _is_finite(value):
                continue
            stderr = entry.get(f"{metric}_stderr,{filtered_by}")
            suffix = "" if filtered_by == "none" else f",{filtered_by}"
            yield (
                f"{task}/{metric}{suffix}",
                Metric(
                    value=float(value),
                    stderr=float(stderr) if _is_finite(stderr) else None,
                    n=entry.get("sample_count", {}).get(key, entry["sample_len"]),
                    higher_is_better=directions.get(metric) is not False,
                ),
            )


def _is_finite(value: object) -> bool:
    # numpy's floats are floats; "N/A" and lists are not.
    return isinstance(value, int | float) and math.isfinite(value)
