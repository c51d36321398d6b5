"""The verdict on any two scores: ours or a stock lm-evaluation-harness's, trained here or not.

Every metric that both were scored by is compared over the items that both answered, and corrected together. Where the
two were not asked the same way, the comparison is not fair: that is said, and the numbers are given all the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.errors import InputError
from reports.contrast import Contrast
from reports.contrasting import all_contrasts, gives_its_score
from reports.scored import Scored, TaskFacts, read_scored
from reports.sides import MetricName, Side, TaskItems, leaves, metric_names
from reports.verdict import Verdict, judge
from reports.wording import counted, listed
from sweep.spec import ReportSpec


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores beside each other."""

    one: str
    other: str
    verdicts: tuple[Verdict, ...]
    """On every metric, groups as a whole."""
    parts: tuple[Verdict, ...]
    """On the parts of groups, corrected among themselves."""
    warnings: tuple[str, ...]
    """Why this is no fair comparison."""
    notes: tuple[str, ...]
    """What could not be compared."""


@dataclass(frozen=True, slots=True)
class _Two:
    """Both sides as they were read."""

    sides: tuple[Side, Side]
    scored: tuple[tuple[Scored, ...], tuple[Scored, ...]]

    @property
    def everything(self) -> tuple[Scored, ...]:
        return (*self.scored[0], *self.scored[1])


def compare(one: Path, other: Path, *, metrics: Sequence[str] = (), margin: float = 0.01) -> Comparison:
    """Compare two scores on all metrics that they share, or on those named. Raises InputError where that cannot be."""
    if not margin > 0:
        raise InputError(f"--margin: {margin} is not above 0.")
    names = short_names(one, other)
    first, first_scored = read_scored(one, names[0])
    second, second_scored = read_scored(other, names[1])
    two = _Two((first, second), (first_scored, second_scored))
    shared = sorted(set(metric_names([first])) & set(metric_names([second])))
    _refuse_nothing_shared(two, shared, (one, other))
    found, unlike = _contrasts(two, shared)
    if metrics:
        known = {made.metric for made in found}
        for name in metrics:
            _refuse_unknown_metric(name, known)
        found = [made for made in found if made.metric in metrics]
    if not found:
        raise InputError(_no_shared_items(two, (one, other)))
    verdicts = judge(found, ReportSpec(margin=margin), headline=None)
    return Comparison(
        one=names[0],
        other=names[1],
        # A part that was asked for by name is no longer aside.
        verdicts=tuple(verdict for verdict in verdicts if verdict.contrast.part_of is None or metrics),
        parts=tuple(verdict for verdict in verdicts if verdict.contrast.part_of is not None and not metrics),
        warnings=tuple(_warnings(two, shared)),
        notes=tuple(_notes(two, unlike)),
    )


def short_names(one: Path, other: Path) -> tuple[str, str]:
    """Two paths by what tells them apart: `a/confirm/lora` and `a/confirm/full` are lora and full."""
    parts = one.resolve().parts, other.resolve().parts
    if parts[0] == parts[1]:
        return str(one), f"{other} again"
    shortest = min(map(len, parts))
    start = next((at for at in range(shortest) if parts[0][at] != parts[1][at]), shortest)
    same_end = 0
    while same_end < shortest - start and parts[0][-1 - same_end] == parts[1][-1 - same_end]:
        same_end += 1
    cut = ["/".join(found[start : len(found) - same_end]) for found in parts]
    return (cut[0] or str(one), cut[1] or str(other))


def _contrasts(two: _Two, shared: Sequence[MetricName]) -> tuple[list[Contrast], list[MetricName]]:
    """Every contrast, and the metrics that are no sum over items."""
    better = {name: up for scored in two.everything for name, up in scored.higher_is_better.items()}
    children = {group: tasks for scored in two.everything for group, tasks in scored.groups.items()}
    members = {group: sorted(set(leaves(group, children))) for group in children}
    unlike = [
        name
        for name in shared
        if not gives_its_score(
            name, two.sides, [scored.values[str(name)] for scored in two.everything if str(name) in scored.values]
        )
    ]
    return all_contrasts([two.sides], [name for name in shared if name not in unlike], better, members), unlike


def _refuse_nothing_shared(two: _Two, shared: Sequence[MetricName], paths: tuple[Path, Path]) -> None:
    if shared:
        return
    asked = [listed(sorted({task for scored in side for task, _ in scored.answers})) for side in two.scored]
    raise InputError(f"{paths[0]} has {asked[0]}, {paths[1]} has {asked[1]}: no metric that both were scored by.")


def _no_shared_items(two: _Two, paths: tuple[Path, Path]) -> str:
    """Both answered the same tasks, on other items: validation rows against test rows, most often."""
    counts = [
        listed([f"{counted(len(items.keys), 'item')} of {task}" for task, items in sorted(_items(side).items())])
        for side in two.sides
    ]
    return (
        f"{paths[0]} has {counts[0]}, {paths[1]} has {counts[1]}: no two are the same item. In a run directory, "
        "search/ and baseline are scored on validation rows, confirm/ and confirm/baseline on test rows."
    )


def _items(side: Side) -> dict[str, TaskItems]:
    return {task: items for (task, _), items in side.models[0].items()}


def _refuse_unknown_metric(name: str, known: set[str]) -> None:
    if name not in known:
        raise InputError(f"--metric {name}: both were not scored by it. There is {listed(sorted(known))}.")


ASKED: Sequence[tuple[str, Callable[[TaskFacts], object]]] = (
    ("the task's version", lambda facts: facts.version),
    ("the number of examples", lambda facts: facts.num_fewshot),
    ("the chat template", lambda facts: facts.chat_template),
    ("the system instruction", lambda facts: facts.system_instruction),
    ("the generation settings", lambda facts: facts.generation),
)


def _warnings(two: _Two, shared: Sequence[MetricName]) -> Iterator[str]:
    """Everything in which the two were not asked alike, task by task."""
    for task in sorted({name.task for name in shared}):
        facts = [[scored.tasks[task] for scored in side if task in scored.tasks] for side in two.scored]
        for what, fact in ASKED:
            seen = [sorted({str(fact(one)) for one in side}) for side in facts]
            if seen[0] != seen[1] and all(seen):
                said = f" ({' and '.join(seen[0])} against {' and '.join(seen[1])})" if _is_short(seen) else ""
                yield f"{task}: no fair comparison, {what} differs{said}."
        filters = sorted({name.filter for name in shared if name.task == task})
        yield from _different_items(two, task, filters[0])


def _is_short(seen: Sequence[Sequence[str]]) -> bool:
    """Hashes and settings are too long to read."""
    return all(len(text) < len("generation") and text != "None" for side in seen for text in side)


def _different_items(two: _Two, task: str, filtered_by: str) -> Iterator[str]:
    """Documents that only one side has, and shared ones that were asked with another prompt."""
    one, other = (side.models[0].get((task, filtered_by)) for side in two.sides)
    if one is None or other is None:
        return
    only = [len(set(one.keys) - set(other.keys)), len(set(other.keys) - set(one.keys))]
    if any(only):
        names = [side.name for side in two.sides]
        said = [f"{counted(count, 'item')} only in {name}" for count, name in zip(only, names, strict=True) if count]
        yield f"{task}: the items differ ({', '.join(said)}); only shared ones are compared."
    changed = _other_prompts(one, other)
    if changed:
        yield f"{task}: no fair comparison, {counted(changed, 'shared item')} asked with another prompt."


def _other_prompts(one: TaskItems, other: TaskItems) -> int:
    places = other.places
    mine = zip(one.keys, one.prompts, strict=True)
    pairs = [(prompt, other.prompts[places[key]]) for key, prompt in mine if key in places]
    return sum(first != second for first, second in pairs if first and second)


def _notes(two: _Two, unlike: Sequence[MetricName]) -> Iterator[str]:
    if unlike:
        yield f"Left out: {listed([str(name) for name in unlike])}: not the mean or ratio of scores of single items."
    asked = [{task for scored in side for task, _ in scored.answers} for side in two.scored]
    for side, alone in zip(two.sides, (asked[0] - asked[1], asked[1] - asked[0]), strict=True):
        if alone:
            yield f"Only {side.name} has {listed(sorted(alone))}."
