"""How much a study will do: trials and tokens, by phase and method, before any of it is done.

What the pruner will end is not known: between nothing and all that it
may end at its first rung. The expected number takes it at its word: the median rule ends half of what it may judge,
halving and Hyperband keep one in `reduction_factor`, and a share of trials is spared by any of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evals.spec import GENERAL_TEXT, OWN, RENDERED_TASKS, TaskSpec
from evals.tasks.paragraphs import read_paragraphs
from sweep import space
from sweep.data.prepared import Manifest
from sweep.plan.benchmarks import benchmark_items, items_asked, limited
from sweep.plan.ranges import Range, total
from sweep.plan.result import PhaseWork, ScoringWork
from sweep.plan.space_ends import spread
from sweep.rungs import horizon, rows_read, rungs, stretch
from sweep.selection import tasks_of
from sweep.shape import RowLengths
from sweep.spec import MethodSpec, StudySpec, TrainingSpec

LENGTH_KEYS = frozenset(
    f"training.{name}"
    for name in ("num_train_epochs", "max_steps", "effective_batch_size", "per_device_train_batch_size")
)
"""Searched keys that decide how much a trial trains."""
MAX_RANKED_LABELS = 64
"""More labels than these are not ranked by likelihood (`evals.tasks.own`)."""


def train_tokens(training: TrainingSpec, lengths: RowLengths) -> float:
    """Tokens of one trial, padding not counted."""
    return rows_read(training, lengths.rows) * lengths.mean


def study_work(
    spec: StudySpec, lengths: Mapping[str, RowLengths], manifest: Manifest, known_items: Mapping[str, int]
) -> list[PhaseWork]:
    """All phases of a study, in their order. `known_items` are items by task, where an earlier run tells."""
    evaluation = spec.evaluation
    search = scoring_work(tasks_of(evaluation, "search"), spec, lengths["validation"], manifest, known_items)
    confirm = scoring_work(tasks_of(evaluation, "confirm"), spec, lengths["test"], manifest, known_items)
    repeat = 2 if spec.evaluation.noise_floor else 1
    work = [_base("baseline", search, repeat)]
    work += [_whole_search(spec, method, lengths, search) for method in spec.methods]
    if spec.budget.confirm_seeds:
        work.append(_base("confirm", confirm, repeat))
        work += [_confirm_work(spec, method, lengths, confirm) for method in spec.methods]
    return work


@dataclass(frozen=True, slots=True)
class TrialWork:
    """What one trial of a method does, run to its end."""

    steps: Range
    """Optimizer steps."""
    tokens: Range
    """Tokens that it trains on, padding not counted."""
    validation_tokens: Range
    """Tokens read for validation losses."""


def trial_work(spec: StudySpec, method: str, lengths: Mapping[str, RowLengths]) -> TrialWork:
    """One trial's work, over all that the method's search may choose."""

    def steps_of(config: MethodSpec) -> float:
        return config.training.planned_steps(lengths["train"].rows)

    def tokens_of(config: MethodSpec) -> float:
        return train_tokens(config.training, lengths["train"])

    def validation_of(config: MethodSpec) -> float:
        taken = rungs(_with_horizon(spec, method, config), lengths["train"].rows)
        return len(taken) * lengths["validation"].tokens_of(config.training.validation_rows)

    return TrialWork(*(Range(*spread(spec, method, LENGTH_KEYS, of)) for of in (steps_of, tokens_of, validation_of)))


def search_work(spec: StudySpec, method: str, each: TrialWork, trials: int, scoring: ScoringWork) -> PhaseWork:
    """A search of so many trials, under the study's pruner."""
    return _work("search", method, each, trials, *share_trained(spec, method, trials), scoring)


def scoring_work(
    tasks: Sequence[TaskSpec], spec: StudySpec, rows: RowLengths, manifest: Manifest, known_items: Mapping[str, int]
) -> ScoringWork:
    """What it takes to score one model on tasks."""
    items = {task.task: _items(task, spec, rows.rows, known_items) for task in tasks}
    own = [_own_tokens(task, spec, rows, manifest) for task in tasks if task.task in RENDERED_TASKS]
    return ScoringWork(
        items,
        total(read for read, _ in own),
        total(written for _, written in own),
        tuple(task.task for task in tasks if _gives_only_a_loss(task, manifest)),
    )


def search_trials(spec: StudySpec, method: str, trial_tokens: float) -> int | None:
    """Trials that a method's search will run: what its budget allows, or all of a space that is smaller.

    Of a budget in tokens, pruned trials leave more for others. None where only hours bound the search.
    """
    bounds = [] if (counted := counted_trials(spec, method)) is None else [counted]
    if spec.budget.tokens_per_method is not None:
        whole = spec.budget.tokens_per_method / trial_tokens
        rule = _rule(spec, method)
        if rule is not None and whole > rule.spared:
            whole = rule.spared + (whole - rule.spared) / rule.trained
        # The trial that crosses the bound is finished.
        bounds.append(max(1, math.ceil(whole)))
    return min(bounds, default=None)


def counted_trials(spec: StudySpec, method: str) -> int | None:
    """Trials by the budget's number of them and by the size of the space; none where neither bounds them."""
    bounds = (spec.budget.trials_per_method, space.size(space.for_method(spec, method)))
    return min((bound for bound in bounds if bound is not None), default=None)


def share_trained(spec: StudySpec, method: str, trials: int) -> tuple[Range, Range]:
    """Shares of all trials' steps that are trained, and of trials that reach their end, under the pruner."""
    rule = _rule(spec, method)
    if rule is None or trials <= rule.spared:
        return Range.exactly(1), Range.exactly(1)
    kept = rule.spared / trials
    trained = Range(kept + (1 - kept) * rule.rung, kept + (1 - kept) * rule.trained, 1)
    return trained, Range(kept, kept + (1 - kept) * rule.survive, 1)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a pruner is taken to act."""

    spared: int
    """Trials that it lets run to their end, having nothing to compare them with."""
    survive: float
    """Share of the others that it keeps."""
    rung: float
    """Share of a trial's steps after which it may end it first."""

    @property
    def trained(self) -> float:
        """Share of the others' steps that are trained, as expected."""
        return self.survive + (1 - self.survive) * self.rung


def _rule(spec: StudySpec, method: str) -> _Rule | None:
    """The study's pruner; none where it ends nothing. At its end, and within its warm-up, no trial is ended."""
    pruner = spec.pruner
    is_median = pruner.name == "median"
    if pruner.name == "none":
        return None

    def share_before_first(config: MethodSpec) -> float:
        span = stretch(_with_horizon(spec, method, config), None)
        first = max(pruner.n_warmup_steps if is_median else 0, math.floor(span.warm_up)) + 1
        return min(1.0, first / span.end) if first < config.training.validations else 1.0

    _, rung, _ = spread(spec, method, LENGTH_KEYS, share_before_first)
    if rung >= 1:
        return None
    kept = 0.5 if is_median else 1 / pruner.reduction_factor
    survive = pruner.spared_share + (1 - pruner.spared_share) * kept
    return _Rule(max(1, pruner.n_startup_trials) if is_median else 1, survive, rung)


def _with_horizon(spec: StudySpec, method: str, config: MethodSpec) -> TrainingSpec:
    return config.training.model_copy(update={"horizon": horizon(spec, method)})


def _whole_search(spec: StudySpec, method: str, lengths: Mapping[str, RowLengths], scoring: ScoringWork) -> PhaseWork:
    """A search that its trials or tokens bound; where neither does, what is known of one trial."""
    each = trial_work(spec, method, lengths)
    trials = search_trials(spec, method, each.tokens.expected)
    if trials is None:
        return PhaseWork("search", method, None, each.steps, each.tokens, None, None, None, scoring)
    work = search_work(spec, method, each, trials, scoring)
    assert work.train_tokens is not None  # noqa: S101 - the number of trials is known
    return replace(work, train_tokens=_within_budget(spec, method, each.tokens, work.train_tokens))


def _confirm_work(spec: StudySpec, method: str, lengths: Mapping[str, RowLengths], scoring: ScoringWork) -> PhaseWork:
    whole = Range.exactly(1)
    return _work("confirm", method, trial_work(spec, method, lengths), spec.budget.confirm_seeds, whole, whole, scoring)


def _work(  # noqa: PLR0913, PLR0917
    phase: str, method: str, each: TrialWork, trials: int, trained: Range, ended: Range, scoring: ScoringWork
) -> PhaseWork:
    return PhaseWork(
        phase=phase,
        method=method,
        trials=Range.exactly(trials),
        steps=each.steps,
        trial_tokens=each.tokens,
        train_tokens=each.tokens.times(trained) * trials,
        validation_tokens=each.validation_tokens.times(trained) * trials,
        scored=ended * trials,
        scoring=scoring,
    )


def _within_budget(spec: StudySpec, method: str, trial: Range, trials: Range) -> Range:
    """Tokens of a search that a budget in tokens ends, unless it runs out of trials or configs before."""
    budget, counted = spec.budget.tokens_per_method, counted_trials(spec, method)
    if budget is None:
        return trials
    least, most = float(budget), budget + trial.high
    if counted is not None:
        least = min(least, trial.low * counted * share_trained(spec, method, counted)[0].low)
        most = min(most, trial.high * counted)
    return Range(least, min(max(trials.expected, least), most), most)


def _base(phase: str, scoring: ScoringWork, repeat: int) -> PhaseWork:
    none = Range.exactly(0)
    return PhaseWork(phase, None, Range.exactly(1), none, none, none, none, Range.exactly(repeat), scoring)


def _items(task: TaskSpec, spec: StudySpec, rows: int, known: Mapping[str, int]) -> int | None:
    if task.task in RENDERED_TASKS:
        return items_asked((rows,), task)
    if task.task == GENERAL_TEXT and not isinstance(spec.evaluation.general_text, str):
        return items_asked((len(read_paragraphs(None)),), task)
    listed = benchmark_items(task)
    # An earlier run may have asked fewer than this study will.
    return known.get(task.task) if listed is None else listed


def _gives_only_a_loss(task: TaskSpec, manifest: Manifest) -> bool:
    if task.task != OWN:
        return task.task == GENERAL_TEXT
    is_graded = task.generate and (manifest.answer != "none" or manifest.grader is not None)
    return not is_graded and not _ranked_labels(manifest)


def _ranked_labels(manifest: Manifest) -> int:
    """Labels that are ranked by likelihood."""
    ranked = manifest.answer == "label" and manifest.label_by == "likelihood"
    return len(manifest.labels) if ranked and len(manifest.labels) <= MAX_RANKED_LABELS else 0


def _own_tokens(task: TaskSpec, spec: StudySpec, rows: RowLengths, manifest: Manifest) -> tuple[Range, Range]:
    """Tokens that are read and written for the user's own rows: likelihoods, and answers where they are generated."""
    share = limited(rows.rows, task.limit) / rows.rows if rows.rows else 0.0
    asked = share * rows.rows
    read = share * rows.tokens * (1 + _ranked_labels(manifest))
    if not task.generate or (manifest.answer == "none" and manifest.grader is None):
        return Range.exactly(read), Range.exactly(0)
    most = asked * (spec.evaluation.scoring.max_new_tokens or manifest.max_new_tokens)
    prompts = share * (rows.tokens - rows.learned)
    expected = min(share * rows.learned, most)
    return Range.exactly(read + prompts), Range(min(asked, expected), expected, max(most, expected))
