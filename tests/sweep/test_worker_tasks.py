"""What a worker refuses before anything is spent: items that would choose and report, tasks that cannot be divided."""

import json
from pathlib import Path

import pytest

from evals.errors import TaskError
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary
from evals.tasks.paragraphs import text_sha256
from sweep.protocol import PrepareData
from sweep.selection import tasks_of
from sweep.spec import DataSpec, EvaluationSpec
from sweep.worker import TrialRunner

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> TrialRunner:
    """A runner that knows a benchmark of ten questions under two names."""
    root = tmp_path_factory.mktemp("tasks")
    rows = [{"question": f"{number}?", "answer": number % 2} for number in range(10)]
    for name in ("toy_ten", "toy_ten_chat"):
        data = root / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (root / f"{name}.yaml").write_text(TASK.format(name=name, data=data, cache=root / name))
    made = TrialRunner(root / "cache")
    made._library = TaskLibrary(include=root)
    return made


def prepare(runner: TrialRunner, model: Path, root: Path, search: list[TaskSpec], confirm: list[TaskSpec]) -> dict:
    rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(20)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = EvaluationSpec(search=tuple(search), confirm=tuple(confirm))
    request = PrepareData(
        ModelSpec(model_name_or_path=str(model), dtype="float32"),
        DataSpec(train="rows.jsonl", validation=0.2, test=0.2),
        root,
        64,
        root / "data",
        seed=0,
        search_tasks=tasks_of(evaluation, "search"),
        confirm_tasks=tasks_of(evaluation, "confirm"),
        scoring=ScoringSpec(),
    )
    return dict(runner.prepare(request).sha256)


def test_one_task_in_both_phases_is_divided_and_the_text_is_a_part_of_the_data(
    runner: TrialRunner, tiny_model: Path, tmp_path: Path
) -> None:
    ten = TaskSpec(task="toy_ten", limit=3)

    sha256 = prepare(
        runner, tiny_model, tmp_path, [TaskSpec(task="own"), ten], [ten.model_copy(update={"limit": None})]
    )

    assert set(sha256) == {"train", "validation", "test", "general_text"}
    assert sha256["general_text"] == text_sha256(None)


def test_the_same_questions_under_another_name_are_refused(
    runner: TrialRunner, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=r"10 items of 'toy_ten'.*again in confirm by 'toy_ten_chat'"):
        prepare(runner, tiny_model, tmp_path, [TaskSpec(task="toy_ten")], [TaskSpec(task="toy_ten_chat")])


def test_a_limit_that_leaves_nothing_to_confirm_with_is_refused(
    runner: TrialRunner, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="leave none to confirm with"):
        prepare(runner, tiny_model, tmp_path, [TaskSpec(task="toy_ten", limit=10)], [TaskSpec(task="toy_ten")])
