"""The errors of single scores whose items share groups, such as the tickets of one customer.

The records hold errors over items as if each were independent. Items know their groups, so that their errors can be
clustered the way those of differences are. Only the user's own rows have groups.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from evals.result import Metric
from reports.contrast import rightly_constant
from reports.contrasting import gives_its_score
from reports.labels import constant_side
from reports.pairing import Paired, pair
from reports.sides import LABELLED, MetricName, Side, TaskItems, metric_names
from reports.statistics import GroupedError
from reports.statistics.clusters import Floats

ONE_GROUP = GroupedError(stderr=None, df=1.0, groups=1, is_share=False)
"""Nothing tells how groups differ."""


def grouped_errors(side: Side, results: Sequence[Mapping[str, Metric]]) -> dict[str, GroupedError]:
    """By metric, the clustered error of one seed's score, where items share groups."""
    found = {}
    for name in metric_names([side]):
        reported = [metrics[str(name)].value for metrics in results if str(name) in metrics]
        if not reported or not _share_groups(side.with_metric(name)) or not gives_its_score(name, [side], reported):
            continue
        made = pair(side, side, name)
        found[str(name)] = ONE_GROUP if made is None else _error(made, made.one.values)
    return found


def constant_errors(side: Side, constants: Mapping[str, Metric]) -> dict[str, GroupedError]:
    """The same for the best constant answer to a side's items; without an error where its answers are not known."""
    found = {}
    for name in metric_names([side]):
        if str(name) not in constants or not _share_groups(side.with_metric(name)):
            continue
        made = pair(side, side, name)
        values = None if made is None else _constant_values(side, name, made, constants[str(name)])
        if made is None or values is None:
            groups = 1 if made is None else made.design.cluster_count or 1
            found[str(name)] = GroupedError(stderr=None, df=1.0, groups=groups, is_share=False)
        else:
            found[str(name)] = _error(made, values)
    return found


def _constant_values(side: Side, name: MetricName, made: Paired, constant: Metric) -> Floats | None:
    if name.metric not in LABELLED:
        right = rightly_constant(made, constant)
        return None if right is None else right[None, :]
    answering = constant_side(side, name, constant.value, "")
    again = None if answering is None else pair(answering, answering, name)
    return None if again is None else again.one.values


def _share_groups(everyone: Sequence[TaskItems]) -> bool:
    """Whether two items are of one group."""
    named = [group for items in everyone[:1] for group in items.groups if group is not None]
    return len(set(named)) < len(named)


def _error(made: Paired, values: Floats) -> GroupedError:
    errors = [made.design.error_of_mean(of_model) for of_model in values]
    return GroupedError(
        stderr=math.sqrt(fmean(error.variance for error in errors)),
        df=errors[0].df,
        groups=made.design.cluster_count or 1,
        is_share=bool(np.isin(values, (0.0, 1.0)).all()),
    )
