"""Numbers of items of the best-known benchmarks, so that a plan can speak of them without loading any.

Numbers are those of the splits that lm-evaluation-harness 0.4.13 asks. What is not listed has to be scored once to be
known.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evals.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Size of a benchmark."""

    items: int
    tasks: int = 1
    """Tasks within a group, each of which a limit applies to."""


BENCHMARKS: Mapping[str, Benchmark] = {
    "arc_challenge": Benchmark(1172),
    "arc_easy": Benchmark(2376),
    "boolq": Benchmark(3270),
    "commonsense_qa": Benchmark(1221),
    "gsm8k": Benchmark(1319),
    "gsm8k_cot": Benchmark(1319),
    "hellaswag": Benchmark(10042),
    "humaneval": Benchmark(164),
    "ifeval": Benchmark(541),
    "lambada_openai": Benchmark(5153),
    "mbpp": Benchmark(500),
    "mmlu": Benchmark(14042, 57),
    "openbookqa": Benchmark(500),
    "piqa": Benchmark(1838),
    "truthfulqa_mc1": Benchmark(817),
    "truthfulqa_mc2": Benchmark(817),
    "winogrande": Benchmark(1267),
}


def benchmark_items(task: TaskSpec) -> int | None:
    """Items that are asked, its limit applied; none where the benchmark is not listed."""
    known = BENCHMARKS.get(task.task)
    if known is None:
        return None
    whole = known.items
    if task.portion is not None:
        searched = _limited(known.items, task.portion.search, known.tasks)
        whole = searched if task.portion.part == "search" else known.items - searched
    return whole if task.limit is None else _limited(whole, task.limit, known.tasks)


def _limited(items: int, limit: float, tasks: int) -> int:
    return math.ceil(items * limit) if limit < 1 else min(items, int(limit) * tasks)
