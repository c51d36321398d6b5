"""All contrasts between pairs of sides: on groups as a whole, then on tasks; those on a group's tasks stand aside."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from reports.contrast import Contrast, contrast
from reports.sides import MetricName, Side

CLOSE = 1e-6


def all_contrasts(
    pairs: Iterable[tuple[Side, Side]],
    names: Sequence[MetricName],
    better: Mapping[str, bool],
    members: Mapping[str, Sequence[str]],
) -> list[Contrast]:
    """Compare each pair on each metric.

    `better` says of each reported score whether more is better; a group without scores is only a list of tasks.
    `members` are the tasks of each group.
    """
    pairs = list(pairs)
    largest = {task: group for group, tasks in sorted(members.items(), key=_size) for task in tasks}
    found = [*_on_groups(pairs, names, better, members, largest), *_on_tasks(pairs, names, better, largest)]
    return [made for made in found if math.isfinite(made.difference)]


def all_pairs(methods: Sequence[Side], references: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    """Every two methods, then each method and each reference."""
    yield from combinations(methods, 2)
    for reference in references:
        for method in methods:
            yield method, reference


def gives_its_score(name: MetricName, sides: Iterable[Side], reported: Sequence[float]) -> bool:
    """Whether a metric's reported scores are what the items give: not so for a perplexity.

    Where items are missing the two differ for that reason, and the items that are there can be compared: one score
    that agrees is enough.
    """
    computed = [items.score(name.metric) for side in sides for items in side.with_metric(name)]
    return not reported or any(
        math.isclose(value, score, rel_tol=CLOSE, abs_tol=CLOSE) for value in reported for score in computed
    )


def _on_tasks(
    pairs: Sequence[tuple[Side, Side]],
    names: Sequence[MetricName],
    better: Mapping[str, bool],
    largest: Mapping[str, str],
) -> Iterator[Contrast]:
    scored = {name.partition("/")[0] for name in better}
    for name in names:
        group = largest.get(name.task)
        for one, other in pairs:
            made = contrast(one, other, name, higher_is_better=better.get(str(name), True))
            if made is not None:
                yield made.as_part_of(group) if group is not None and group in scored else made


def _on_groups(
    pairs: Sequence[tuple[Side, Side]],
    names: Sequence[MetricName],
    better: Mapping[str, bool],
    members: Mapping[str, Sequence[str]],
    largest: Mapping[str, str],
) -> Iterator[Contrast]:
    for group, tasks in sorted(members.items()):
        for metric, filtered_by in sorted({(name.metric, name.filter) for name in names if name.task in tasks}):
            name = MetricName(group, metric, filtered_by)
            if str(name) not in better:
                continue
            asked = [task for task in tasks if name.of_task(task) in names]
            above = largest[asked[0]]
            for one, other in pairs:
                made = contrast(one, other, name, higher_is_better=better[str(name)], tasks=asked)
                if made is not None:
                    yield made if above == group else made.as_part_of(above)


def _size(pair: tuple[str, Sequence[str]]) -> tuple[int, str]:
    return len(pair[1]), pair[0]
