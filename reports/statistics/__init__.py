"""Everything that says how sure a number is. Each part names the source of its formula."""

from reports.statistics.clusters import Design, clustered_error, codes_of, design_effect
from reports.statistics.correction import benjamini_hochberg, holm
from reports.statistics.decisions import detectable_difference, equivalence_p, needed, non_inferiority_p
from reports.statistics.difference import Difference, Models, difference
from reports.statistics.paired import mcnemar, sign_flip
from reports.statistics.ratios import linearized
from reports.statistics.reference import Reference
from reports.statistics.scores import Estimate, GroupedError, Interval, IntervalKind, estimate, overlap, wilson

__all__ = [
    "Design",
    "Difference",
    "Estimate",
    "GroupedError",
    "Interval",
    "IntervalKind",
    "Models",
    "Reference",
    "benjamini_hochberg",
    "clustered_error",
    "codes_of",
    "design_effect",
    "detectable_difference",
    "difference",
    "equivalence_p",
    "estimate",
    "holm",
    "linearized",
    "mcnemar",
    "needed",
    "non_inferiority_p",
    "overlap",
    "sign_flip",
    "wilson",
]
