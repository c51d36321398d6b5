"""Scores of groups, such as MMLU and its four areas, recomputed from the items of their tasks.

A group's tasks are strata, fixed beforehand: its score is a weighted mean of theirs, and its variance the weighted sum
of theirs (Cochran, Sampling Techniques, chapter 5). lm-evaluation-harness 0.4.13 pools the tasks' variances instead,
as if all tasks were equally hard to answer the same way; both agree where all tasks have as many items, and only
there. Its files keep its own figure. Pooling all items as one sample, a third way, would count the differences
between tasks as chance and be too wide.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.group import Group

from evals.result import Metric
from evals.tasks.aggregate import mean, mean_stderr

Samples = Mapping[str, Sequence[Mapping[str, Any]]]
"""lm-evaluation-harness's samples by task."""


def group_metrics(items: Sequence[Any], results: Mapping[str, Any], samples: Samples) -> dict[str, Metric]:
    """Every group's metrics that are means over items, by `group/metric`; others stay as the harness gave them."""
    return {name: metric for group in _groups(items) for name, metric in _metrics_of(group, results, samples)}


def stratified_mean(strata: Sequence[Sequence[float]], *, by_size: bool) -> tuple[float, float | None]:
    """Mean over strata, weighted by their sizes or equally, and its standard error.

    A stratum of one item tells nothing of its variance: the mean then has no error.
    """
    total = sum(len(values) for values in strata)
    weights = [len(values) / total if by_size else 1 / len(strata) for values in strata]
    value = math.fsum(weight * mean(values) for weight, values in zip(weights, strata, strict=True))
    if any(len(values) == 1 for values in strata):
        return value, None
    errors = (weight * mean_stderr(values) for weight, values in zip(weights, strata, strict=True))
    return value, math.hypot(*errors)


def _groups(items: Sequence[Any]) -> Iterator[Group]:
    for item in items:
        if isinstance(item, Group):
            yield item
            yield from item.get_all_groups()


def _metrics_of(group: Group, results: Mapping[str, Any], samples: Samples) -> Iterator[tuple[str, Metric]]:
    tasks = [task.task_name for task in group.get_all_tasks()]
    by_size = {aggregated.metric: aggregated.weight_by_size for aggregated in group.aggregate_metric_list or ()}
    for key in results["results"].get(group.name, {}):
        name, comma, filtered_by = key.partition(",")
        if not comma or name not in by_size:
            continue
        strata = [_values(samples[task], name, filtered_by) for task in tasks if key in results["results"][task]]
        reported = [results["results"][task][key] for task in tasks if key in results["results"][task]]
        if not _are_means(strata, reported):
            continue
        value, stderr = stratified_mean(strata, by_size=by_size[name])
        suffix = "" if filtered_by == "none" else f",{filtered_by}"
        yield (
            f"{group.name}/{name}{suffix}",
            Metric(
                value=value,
                stderr=stderr,
                n=sum(map(len, strata)),
                higher_is_better=results["higher_is_better"].get(tasks[0], {}).get(name) is not False,
            ),
        )


def _values(samples: Sequence[Mapping[str, Any]], metric: str, filtered_by: str) -> list[float]:
    found = (sample[metric] for sample in samples if sample["filter"] == filtered_by and metric in sample)
    return [float(value) for value in found if isinstance(value, bool | int | float)]


def _are_means(strata: Sequence[Sequence[float]], reported: Sequence[object]) -> bool:
    """Whether each task's reported score is the plain mean of its items, which not every metric is."""
    return bool(strata) and all(
        values and isinstance(score, float) and math.isclose(mean(values), score, abs_tol=1e-9)
        for values, score in zip(strata, reported, strict=True)
    )
