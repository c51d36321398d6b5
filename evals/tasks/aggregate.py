"""From per-item values to one number with its error.

Most metrics are means. A loss is a ratio of sums: items differ in length, and the mean of per-item losses would weigh
a short answer like a long one. Torch-free.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evals.result import Metric

Ratio = tuple[float, float]
"""A numerator and its denominator, such as an item's summed loss and its tokens."""
Labels = tuple[str, str]
"""An item's expected and given label."""

NO_LABEL = ""
"""Given label of an answer that names none."""
FIELD_F1 = "field_f1/"
"""Begins the metric of one top-level field of JSON answers."""
BOOTSTRAP_RESAMPLES = 200


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def mean_stderr(values: Sequence[float]) -> float:
    """Standard error of the mean, from the sample variance."""
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values))


def ratio(values: Sequence[Ratio]) -> float:
    """Sum of the numerators over the sum of the denominators; no number where nothing was counted."""
    total = math.fsum(bottom for _, bottom in values)
    return math.fsum(top for top, _ in values) / total if total else math.nan


def ratio_stderr(values: Sequence[Ratio]) -> float:
    """Standard error of a ratio of sums by the delta method (Cochran, Sampling Techniques, chapter 6)."""
    centre = ratio(values)
    residuals = math.fsum((top - centre * bottom) ** 2 for top, bottom in values)
    total = math.fsum(bottom for _, bottom in values)
    return math.sqrt(residuals * len(values) / (len(values) - 1)) / total if total else math.nan


def macro_f1(values: Sequence[Labels]) -> float:
    """Unweighted mean of F1 over all labels that were expected or given; `NO_LABEL` costs recall alone."""
    expected, given = Counter(label for label, _ in values), Counter(label for _, label in values)
    right = Counter(label for label, answer in values if label == answer)
    labels = sorted({*expected, *given} - {NO_LABEL})
    return mean([2 * right[label] / (expected[label] + given[label]) for label in labels])


def macro_f1_stderr(values: Sequence[Labels]) -> float:
    """Standard error by resampling items with a fixed seed."""
    draw = random.Random(0)  # noqa: S311
    resampled = [macro_f1(draw.choices(values, k=len(values))) for _ in range(BOOTSTRAP_RESAMPLES)]
    return mean_stderr(resampled) * math.sqrt(len(resampled))


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How a metric's per-item values become one number."""

    value: Callable[..., float]
    stderr: Callable[..., float]
    higher_is_better: bool

    def metric(self, values: Sequence[object]) -> Metric:
        """The number with its error; one item alone has none."""
        return Metric(
            value=self.value(values),
            stderr=self.stderr(values) if len(values) > 1 else None,
            n=len(values),
            higher_is_better=self.higher_is_better,
        )


SHARE = Aggregation(mean, mean_stderr, higher_is_better=True)
SHARE_AMISS = Aggregation(mean, mean_stderr, higher_is_better=False)
RATIO = Aggregation(ratio, ratio_stderr, higher_is_better=True)
LOSS = Aggregation(ratio, ratio_stderr, higher_is_better=False)

AGGREGATIONS: Mapping[str, Aggregation] = {
    "loss": LOSS,
    "bits_per_byte": LOSS,
    "exact_match": SHARE,
    "normalized_match": SHARE,
    "chrf": SHARE,
    "rouge_l": SHARE,
    "field_match": SHARE,
    "field_precision": RATIO,
    "field_recall": RATIO,
    "field_f1": RATIO,
    "json_valid": SHARE,
    "schema_valid": SHARE,
    "execution_match": SHARE,
    "filled_match": SHARE,
    "sql_valid": SHARE,
    "accuracy": SHARE,
    "macro_f1": Aggregation(macro_f1, macro_f1_stderr, higher_is_better=True),
    "no_answer": SHARE_AMISS,
    "unjudged": SHARE_AMISS,
    "grader_error": SHARE_AMISS,
    "tied": SHARE_AMISS,
}
"""Every metric of the user's own data, by name; fields of JSON answers and the user's own grader bring more."""


def aggregation_of(name: str) -> Aggregation:
    """How a metric becomes one number. What a user's own grader gives is averaged, and the more the better."""
    return AGGREGATIONS.get(name, RATIO if name.startswith(FIELD_F1) else SHARE)
