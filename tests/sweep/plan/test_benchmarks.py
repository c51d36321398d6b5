"""The table of benchmarks against the task files that are installed, and its counting against what is really asked."""

from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml
from lm_eval.evaluator_utils import get_sample_size

from evals.spec import PortionSpec, TaskSpec
from evals.tasks.names import known_tasks
from evals.tasks.portions import chosen
from sweep.plan.benchmarks import BENCHMARKS, MMLU_SUBJECTS, benchmark_items, items_asked, limited

TASKS = Path(lm_eval.tasks.__file__).parent
FILES = {
    "arc_challenge": ("arc/arc_easy.yaml", "allenai/ai2_arc", "test"),
    "arc_easy": ("arc/arc_easy.yaml", "allenai/ai2_arc", "test"),
    "boolq": ("super_glue/boolq/default.yaml", "aps/super_glue", "validation"),
    "commonsense_qa": ("commonsense_qa/default.yaml", "tau/commonsense_qa", "validation"),
    "gsm8k": ("gsm8k/gsm8k.yaml", "openai/gsm8k", "test"),
    "gsm8k_cot": ("gsm8k/gsm8k-cot.yaml", "openai/gsm8k", "test"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "Rowan/hellaswag", "validation"),
    "humaneval": ("humaneval/humaneval.yaml", "openai/openai_humaneval", "test"),
    "ifeval": ("ifeval/ifeval.yaml", "google/IFEval", "train"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "EleutherAI/lambada_openai", "test"),
    "mbpp": ("mbpp/mbpp.yaml", "google-research-datasets/mbpp", "test"),
    "mmlu": ("mmlu/default/_default_template_yaml", "cais/mmlu", "test"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "allenai/openbookqa", "test"),
    "piqa": ("piqa/piqa.yaml", "baber/piqa", "validation"),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthful_qa", "validation"),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthful_qa", "validation"),
    "winogrande": ("winogrande/default.yaml", "allenai/winogrande", "validation"),
}
"""Where each task is described, its data set, and the split whose items are counted here."""


class _Loader(yaml.SafeLoader):
    """Task files name functions with a tag; what they are does not matter here."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def task_file(name: str) -> dict[str, Any]:
    return yaml.load((TASKS / name).read_text("utf-8"), _Loader)  # noqa: S506 - the loader is a safe one


def test_every_benchmark_is_known_by_its_name() -> None:
    assert set(BENCHMARKS) <= known_tasks()
    assert set(BENCHMARKS) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_split_that_is_counted_is_the_one_that_is_asked(name: str) -> None:
    file, dataset, split = FILES[name]
    described = task_file(file)

    assert described["dataset_path"] == dataset
    # The harness asks the test split, and the validation split where there is none.
    assert (described.get("test_split") or described["validation_split"]) == split


def test_mmlu_has_its_subjects_and_all_of_its_items() -> None:
    files = (TASKS / "mmlu" / "default").glob("mmlu_*.yaml")
    subjects = {task_file(f"mmlu/default/{path.name}")["dataset_name"] for path in files}

    assert set(MMLU_SUBJECTS) == subjects
    assert benchmark_items(TaskSpec(task="mmlu")) == 14042


class _Sized:
    """As much of a task as the harness asks for its size."""

    def __init__(self, size: int) -> None:
        self.eval_docs = range(size)


@pytest.mark.parametrize("limit", [1, 10, 100, 200, 5000, 0.001, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("name", ["gsm8k", "humaneval", "mmlu"])
def test_a_limit_is_counted_as_the_harness_counts_it(name: str, limit: float) -> None:
    sizes = BENCHMARKS[name]

    assert benchmark_items(TaskSpec(task=name, limit=limit)) == sum(
        min(size, get_sample_size(_Sized(size), limit)) for size in sizes
    )


@pytest.mark.parametrize("size", [1, 20, 90, 0.2, 0.015])
@pytest.mark.parametrize("limit", [None, 5, 150, 0.5])
@pytest.mark.parametrize("name", ["gsm8k", "mmlu"])
def test_both_portions_are_as_large_as_what_is_drawn(name: str, limit: float | None, size: float) -> None:
    counted, drawn = [], []
    for part in ("search", "confirm"):
        task = TaskSpec(task=name, limit=limit, portion=PortionSpec(part=part, search=size))
        counted.append(benchmark_items(task))
        drawn.append(sum(len(chosen(f"{name} {place}", items, task)) for place, items in enumerate(BENCHMARKS[name])))

    assert counted == drawn
    if limit is None:
        assert sum(counted) == sum(BENCHMARKS[name])


def test_what_is_not_listed_is_not_guessed() -> None:
    assert benchmark_items(TaskSpec(task="a_task_of_ones_own", limit=10)) is None


def test_a_limit_counts_in_each_task_of_a_group() -> None:
    # Of 10 and 300 items: 10 and 200, not 200 and not 310; a share is rounded up in each.
    assert items_asked((10, 300), TaskSpec(task="group", limit=200)) == 210
    assert items_asked((1, 1, 1), TaskSpec(task="group", limit=0.1)) == 3
    assert limited(7, None) == 7
