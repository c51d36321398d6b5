"""How much a study will do: trials and tokens, by phase and method, before any of it is done.

Steps are counted as transformers counts them. What the pruner will end is not known: between nothing and all that it
may end at its first rung. The expected number takes it at its word: the median rule ends half of what it may judge,
halving and Hyperband keep one in `reduction_factor`.
"""

import math
from collections.abc import Mapping, Sequence

from evals.spec import GENERAL_TEXT, RENDERED_TASKS, TaskSpec
from evals.tasks.paragraphs import read_paragraphs
from sweep import space
from sweep.data.prepared import Manifest
from sweep.errors import InputError
from sweep.plan.benchmarks import benchmark_items
from sweep.plan.ranges import Range, total
from sweep.plan.result import PhaseWork, ScoringWork
from sweep.plan.space_ends import spread
from sweep.selection import tasks_of
from sweep.shape import RowLengths
from sweep.spec import MethodSpec, StudySpec, TrainingSpec

LENGTH_KEYS = frozenset(
    f"training.{name}"
    for name in ("num_train_epochs", "max_steps", "effective_batch_size", "per_device_train_batch_size", "max_length")
)
"""Searched keys that decide how much a trial trains."""
MAX_RANKED_LABELS = 64
"""More labels than these are not ranked by likelihood (`evals.tasks.own`)."""


def planned_steps(training: TrainingSpec, rows: int) -> int:
    """Optimizer steps of a trial over so many rows, as transformers counts them."""
    if training.max_steps is not None:
        return training.max_steps
    batches = math.ceil(rows / training.micro_batch_size)
    return math.ceil(training.num_train_epochs * max(math.ceil(batches / training.gradient_accumulation_steps), 1))


def train_tokens(training: TrainingSpec, lengths: RowLengths) -> float:
    """Tokens of one trial, padding not counted: whole passes, or as many rows as its steps take."""
    if training.max_steps is not None:
        return training.max_steps * training.effective_batch_size * _mean(lengths, training)
    return training.num_train_epochs * lengths.rows * _mean(lengths, training)


def study_work(
    spec: StudySpec, lengths: Mapping[str, RowLengths], manifest: Manifest, known_items: Mapping[str, int]
) -> list[PhaseWork]:
    """All phases of a study, in their order. `known_items` are items by task, where an earlier run tells."""
    evaluation = spec.evaluation
    search = scoring_work(tasks_of(evaluation, "search"), spec, lengths["validation"], manifest, known_items)
    confirm = scoring_work(tasks_of(evaluation, "confirm"), spec, lengths["test"], manifest, known_items)
    repeat = 2 if spec.evaluation.noise_floor else 1
    work = [_base("baseline", search, repeat)]
    work += [_method_work(spec, method, "search", lengths, search) for method in spec.methods]
    if spec.budget.confirm_seeds:
        work.append(_base("confirm", confirm, repeat))
        work += [_method_work(spec, method, "confirm", lengths, confirm) for method in spec.methods]
    return work


def scoring_work(
    tasks: Sequence[TaskSpec], spec: StudySpec, rows: RowLengths, manifest: Manifest, known_items: Mapping[str, int]
) -> ScoringWork:
    """What it takes to score one model on tasks."""
    items = {task.task: _items(task, spec, rows.rows, known_items) for task in tasks}
    own = [_own_tokens(task, spec, rows, manifest) for task in tasks if task.task in RENDERED_TASKS]
    return ScoringWork(items, total(read for read, _ in own), total(written for _, written in own))


def search_trials(spec: StudySpec, method: str, trial_tokens: float) -> int:
    """Trials that a method's search may run: what its budget allows, or all of a space that is smaller.

    Raises InputError where only hours bound the search: how many trials they hold shows when they run.
    """
    budget, size = spec.budget, space.size(space.for_method(spec, method))
    bounds = [bound for bound in (budget.trials_per_method, size) if bound is not None]
    if budget.tokens_per_method is not None:
        # The trial that crosses the bound is finished.
        bounds.append(max(1, math.ceil(budget.tokens_per_method / trial_tokens)))
    if not bounds:
        raise InputError(
            f"budget: hours alone do not say how many trials {method} will run. Plan with a number of them, such as "
            "--set budget.trials_per_method=12."
        )
    return min(bounds)


def share_trained(spec: StudySpec, method: str, trials: int) -> tuple[Range, Range]:
    """Shares of all trials' steps that are trained, and of trials that reach their end, under the pruner."""
    pruner, validations = spec.pruner, spec.methods[method].training.validations
    first = 1 + pruner.n_warmup_steps if pruner.name == "median" else 1
    spared = pruner.n_startup_trials if pruner.name == "median" else 1
    if pruner.name == "none" or first >= validations or trials <= spared:
        return Range.exactly(1), Range.exactly(1)
    kept = spared / trials
    survive = 0.5 if pruner.name == "median" else 1 / pruner.reduction_factor
    rung = first / validations
    expected = kept + (1 - kept) * (survive + (1 - survive) * rung)
    return Range(kept + (1 - kept) * rung, expected, 1), Range(kept, kept + (1 - kept) * survive, 1)


def _method_work(
    spec: StudySpec, method: str, phase: str, lengths: Mapping[str, RowLengths], scoring: ScoringWork
) -> PhaseWork:
    def steps_of(config: MethodSpec) -> float:
        return planned_steps(config.training, lengths["train"].rows)

    def tokens_of(config: MethodSpec) -> float:
        return train_tokens(config.training, lengths["train"])

    is_search = phase == "search"
    tokens = Range(*spread(spec, method, LENGTH_KEYS, tokens_of))
    trials = search_trials(spec, method, tokens.expected) if is_search else spec.budget.confirm_seeds
    trained, ended = share_trained(spec, method, trials) if is_search else (Range.exactly(1), Range.exactly(1))
    validations = spec.methods[method].training.validations * lengths["validation"].tokens
    return PhaseWork(
        phase=phase,
        method=method,
        trials=trials,
        steps=Range(*spread(spec, method, LENGTH_KEYS, steps_of)),
        train_tokens=_times(tokens, trained) * trials,
        validation_tokens=trained * (trials * validations),
        scored=ended * trials,
        scoring=scoring,
    )


def _base(phase: str, scoring: ScoringWork, repeat: int) -> PhaseWork:
    none = Range.exactly(0)
    return PhaseWork(phase, None, 1, none, none, none, Range.exactly(repeat), scoring)


def _times(one: Range, other: Range) -> Range:
    return Range(one.low * other.low, one.expected * other.expected, one.high * other.high)


def _mean(lengths: RowLengths, training: TrainingSpec) -> float:
    return min(lengths.mean, training.max_length)


def _items(task: TaskSpec, spec: StudySpec, rows: int, known: Mapping[str, int]) -> int | None:
    if task.task in RENDERED_TASKS:
        return limited(rows, task.limit)
    if task.task == GENERAL_TEXT and not isinstance(spec.evaluation.general_text, str):
        return limited(len(read_paragraphs(None)), task.limit)
    return known.get(task.task) or benchmark_items(task)


def limited(rows: int, limit: float | None) -> int:
    """Rows that a limit leaves, as lm-evaluation-harness counts them."""
    if limit is None:
        return rows
    return math.ceil(rows * limit) if limit < 1 else min(rows, int(limit))


def _own_tokens(task: TaskSpec, spec: StudySpec, rows: RowLengths, manifest: Manifest) -> tuple[Range, Range]:
    """Tokens that are read and written for the user's own rows: likelihoods, and answers where they are generated."""
    share = limited(rows.rows, task.limit) / rows.rows if rows.rows else 0.0
    asked = share * rows.rows
    ranked = manifest.answer == "label" and manifest.label_by == "likelihood"
    labels = len(manifest.labels) if ranked and len(manifest.labels) <= MAX_RANKED_LABELS else 0
    read = share * rows.tokens * (1 + labels)
    if not task.generate or (manifest.answer == "none" and manifest.grader is None):
        return Range.exactly(read), Range.exactly(0)
    most = asked * (spec.evaluation.scoring.max_new_tokens or manifest.max_new_tokens)
    prompts = share * (rows.tokens - rows.learned)
    expected = min(share * rows.learned, most)
    return Range.exactly(read + prompts), Range(min(asked, expected), expected, max(most, expected))
