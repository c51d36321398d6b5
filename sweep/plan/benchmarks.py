"""Numbers of items of the best-known benchmarks, so that a plan can speak of them without loading any.

Numbers are those of the splits that lm-evaluation-harness 0.4.13 asks. What is not listed has to be scored once to be
known. Of a group, the size of each task counts, because limits and portions apply to each by itself.
"""

import math
from collections.abc import Mapping, Sequence

from evals.spec import TaskSpec

MMLU_SUBJECTS: Mapping[str, int] = {
    "abstract_algebra": 100,
    "anatomy": 135,
    "astronomy": 152,
    "business_ethics": 100,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_chemistry": 100,
    "college_computer_science": 100,
    "college_mathematics": 100,
    "college_medicine": 173,
    "college_physics": 102,
    "computer_security": 100,
    "conceptual_physics": 235,
    "econometrics": 114,
    "electrical_engineering": 145,
    "elementary_mathematics": 378,
    "formal_logic": 126,
    "global_facts": 100,
    "high_school_biology": 310,
    "high_school_chemistry": 203,
    "high_school_computer_science": 100,
    "high_school_european_history": 165,
    "high_school_geography": 198,
    "high_school_government_and_politics": 193,
    "high_school_macroeconomics": 390,
    "high_school_mathematics": 270,
    "high_school_microeconomics": 238,
    "high_school_physics": 151,
    "high_school_psychology": 545,
    "high_school_statistics": 216,
    "high_school_us_history": 204,
    "high_school_world_history": 237,
    "human_aging": 223,
    "human_sexuality": 131,
    "international_law": 121,
    "jurisprudence": 108,
    "logical_fallacies": 163,
    "machine_learning": 112,
    "management": 103,
    "marketing": 234,
    "medical_genetics": 100,
    "miscellaneous": 783,
    "moral_disputes": 346,
    "moral_scenarios": 895,
    "nutrition": 306,
    "philosophy": 311,
    "prehistory": 324,
    "professional_accounting": 282,
    "professional_law": 1534,
    "professional_medicine": 272,
    "professional_psychology": 612,
    "public_relations": 110,
    "security_studies": 245,
    "sociology": 201,
    "us_foreign_policy": 100,
    "virology": 166,
    "world_religions": 171,
}
"""Test items by subject of MMLU (arXiv 2009.03300)."""
BENCHMARKS: Mapping[str, tuple[int, ...]] = {
    "arc_challenge": (1172,),
    "arc_easy": (2376,),
    "boolq": (3270,),
    "commonsense_qa": (1221,),
    "gsm8k": (1319,),
    "gsm8k_cot": (1319,),
    "hellaswag": (10042,),
    "humaneval": (164,),
    "ifeval": (541,),
    "lambada_openai": (5153,),
    "mbpp": (500,),
    "mmlu": tuple(MMLU_SUBJECTS.values()),
    "openbookqa": (500,),
    "piqa": (1838,),
    "truthfulqa_mc1": (817,),
    "truthfulqa_mc2": (817,),
    "winogrande": (1267,),
}
"""Items by benchmark: of each of its tasks."""


def benchmark_items(task: TaskSpec) -> int | None:
    """Items that are asked, portion and limit applied; none where the benchmark is not listed."""
    sizes = BENCHMARKS.get(task.task)
    return None if sizes is None else items_asked(sizes, task)


def items_asked(sizes: Sequence[int], task: TaskSpec) -> int:
    """Items that a spec asks of tasks of these sizes, each divided and limited by itself."""
    return sum(limited(_part(size, task), task.limit) for size in sizes)


def limited(items: int, limit: float | None) -> int:
    """Items that a limit leaves of one task, as lm-evaluation-harness counts them."""
    if limit is None:
        return items
    return math.ceil(items * limit) if limit < 1 else min(items, int(limit))


def _part(items: int, task: TaskSpec) -> int:
    if task.portion is None:
        return items
    searched = limited(items, task.portion.search)
    return searched if task.portion.part == "search" else items - searched
