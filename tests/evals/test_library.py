"""lm-evaluation-harness's tasks by name: found, loaded, refused, scored."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import TaskError
from evals.harness import score
from evals.items import read_items
from evals.models.scored import load_lm
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary

SCORING = ScoringSpec(batch_size=2)
ALLOWED = ScoringSpec(batch_size=2, allow_unsafe_code=True)

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}, cache_dir: {cache}}}
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 3}}
"""
GROUP = """
group: toy_group
task: [toy_small, toy_smaller]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
"""
UNSAFE = "task: toy_code\ndataset_path: nobody/nothing\nunsafe_code: true\ntag: toy_unsafe\n"
INLINE = "group: toy_inline\ntask:\n  - group: inner\n    task: [toy_small, toy_code]\n"
ABSENT = "task: toy_absent\ndataset_path: nobody/nothing\noutput_type: generate_until\ntest_split: test\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskLibrary]:
    tasks, data = tmp_path_factory.mktemp("tasks"), tmp_path_factory.mktemp("data")
    for name, count in (("toy_small", 4), ("toy_smaller", 2)):
        rows = [{"question": f"{n}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(count)]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tasks / f"{name}.yaml").write_text(CHOICE.format(name=name, data=data / f"{name}.jsonl", cache=data / "cache"))
    for name, text in {"group": GROUP, "unsafe": UNSAFE, "inline": INLINE, "absent": ABSENT}.items():
        (tasks / f"{name}.yaml").write_text(text)
    return TaskLibrary(include=tasks)


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=2)


def test_an_unknown_task_is_answered_with_the_nearest_names(library: TaskLibrary) -> None:
    with pytest.raises(TaskError, match=r"toy_smal: no task or group.*'toy_small'"):
        library.load(TaskSpec(task="toy_smal"), SCORING)


@pytest.mark.parametrize("name", ["longproc_pseudo_to_code_0.5k", "toy_code", "toy_unsafe", "toy_inline"])
def test_tasks_that_run_code_outside_of_the_sandbox_are_refused_before_they_are_loaded(
    library: TaskLibrary, name: str
) -> None:
    with pytest.raises(TaskError, match=rf"{name}: .*allow_unsafe_code"):
        library.load(TaskSpec(task=name), SCORING)


@pytest.mark.parametrize("name", ["humaneval", "humaneval_64", "humaneval_instruct", "mbpp", "mbpp_instruct"])
def test_tasks_graded_in_the_sandbox_get_as_far_as_their_data(library: TaskLibrary, name: str) -> None:
    # Permission is for machines without a sandbox.
    with pytest.raises(TaskError, match=rf"{name}: cannot be loaded: .* must be on the Hub, within reach"):
        library.load(TaskSpec(task=name), ALLOWED)


def test_data_that_are_out_of_reach_are_named_in_one_line(library: TaskLibrary) -> None:
    with pytest.raises(
        TaskError, match=r"toy_absent: cannot be loaded: .*'nobody/nothing'.*in \./nobody/nothing\."
    ) as told:
        library.load(TaskSpec(task="toy_absent"), SCORING)

    assert "\n" not in str(told.value)


def test_a_group_is_scored_with_each_of_its_tasks(library: TaskLibrary, lm: HFLM, tmp_path: Path) -> None:
    result = score(lm, [TaskSpec(task="toy_group")], SCORING, own=None, output=tmp_path / "eval", library=library)

    metrics = result.metrics
    assert set(metrics) == {"toy_group/acc", "toy_small/acc", "toy_smaller/acc"}
    assert (metrics["toy_small/acc"].n, metrics["toy_smaller/acc"].n, metrics["toy_group/acc"].n) == (4, 2, 6)
    by_hand = (4 * metrics["toy_small/acc"].value + 2 * metrics["toy_smaller/acc"].value) / 6
    assert metrics["toy_group/acc"].value == pytest.approx(by_hand)
    assert result.task_versions == {"toy_group": "1", "toy_small": "3", "toy_smaller": "3"}
    assert set(result.samples) == {"toy_small", "toy_smaller"}
    assert len(read_items(tmp_path / "eval")) == 6
    assert set(result.seconds) == {"toy_group"}


def test_a_library_that_is_kept_gives_the_same_scores_and_settings_apart(
    library: TaskLibrary, lm: HFLM, tmp_path: Path
) -> None:
    asked = [TaskSpec(task="toy_small", num_fewshot=2), TaskSpec(task="toy_small"), TaskSpec(task="toy_small", limit=3)]

    def prompts(name: str, task: TaskSpec) -> list[str]:
        result = score(lm, [task], SCORING, own=None, output=tmp_path / name, library=library)
        lines = (tmp_path / name / result.samples["toy_small"]).read_text().splitlines()
        return [json.loads(line)["arguments"]["gen_args_0"]["arg_0"] for line in lines]

    first = [prompts("one", task) for task in asked]
    again = [prompts("two", task) for task in asked]

    assert first == again
    assert [len(asked_once) for asked_once in first] == [4, 4, 3]
    assert len(first[0][0]) > len(first[1][0])


def test_tasks_do_not_share_batches_with_what_else_is_asked(
    library: TaskLibrary, lm: HFLM, write_own, tmp_path: Path
) -> None:
    own = write_own([("a", "b"), ("a longer question", "c"), ("d", "e")], "text")
    tasks = [TaskSpec(task="own"), TaskSpec(task="toy_small")]

    together = score(lm, tasks, SCORING, own=own, output=tmp_path / "both", library=library)
    alone = score(lm, tasks[:1], SCORING, own=own, output=tmp_path / "own", library=library)

    assert {**together.metrics} == {**alone.metrics, "toy_small/acc": together.metrics["toy_small/acc"]}
    assert set(together.samples) == {"own", "toy_small"}
    assert len(list((tmp_path / "both").glob("results_*.json"))) == 2


def test_a_task_within_a_group_is_not_asked_a_second_time(library: TaskLibrary, lm: HFLM, tmp_path: Path) -> None:
    tasks = [TaskSpec(task="toy_group"), TaskSpec(task="toy_small")]

    with pytest.raises(TaskError, match="'toy_small' is asked already by 'toy_group'"):
        score(lm, tasks, SCORING, own=None, output=tmp_path / "eval", library=library)


def test_the_chat_template_is_applied_where_it_is_asked_for(library: TaskLibrary, lm: HFLM, tmp_path: Path) -> None:
    task = TaskSpec(task="toy_smaller", apply_chat_template=True)
    result = score(lm, [task], SCORING, own=None, output=tmp_path / "eval", library=library)

    sample = json.loads((tmp_path / "eval" / result.samples["toy_smaller"]).read_text().splitlines()[0])
    assert sample["arguments"]["gen_args_0"]["arg_0"].startswith("<|im_start|>user\n0?<|im_end|>")


def test_a_chat_template_that_the_model_lacks_is_refused(
    library: TaskLibrary, lm: HFLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lm.tokenizer, "chat_template", None)
    task = TaskSpec(task="toy_small", apply_chat_template=True)

    with pytest.raises(TaskError, match="no chat template"):
        score(lm, [task], SCORING, own=None, output=tmp_path / "eval", library=library)


def test_requests_are_built_once_for_all_models_and_hold_nobodys_answers(
    library: TaskLibrary, lm: HFLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TaskSpec(task="toy_small", num_fewshot=1)
    (leaf,) = library.load(task, SCORING).items
    drawn = []
    draw = leaf.fewshot_context
    monkeypatch.setattr(leaf, "fewshot_context", lambda *given, **asked: drawn.append(1) or draw(*given, **asked))

    first, second = (
        score(lm, [task], SCORING, own=None, output=tmp_path / name, library=library) for name in ("first", "second")
    )

    assert len(drawn) == 4
    assert first.metrics == second.metrics
    assert first.doc_sha256 == second.doc_sha256
    pairs = zip(read_items(tmp_path / "first"), read_items(tmp_path / "second"), strict=True)
    assert all(one == other for one, other in pairs)
    rows = [json.loads(line) for line in next((tmp_path / "second").glob("samples_*")).read_text().splitlines()]
    assert all(len(row["resps"]) == 2 and len(row["resps"][0]) == 1 for row in rows)


def test_requests_are_built_anew_for_other_settings(library: TaskLibrary, lm: HFLM, tmp_path: Path) -> None:
    asked = [
        next((tmp_path / name).glob("samples_*")).read_text()
        for name, scoring in (("one", SCORING), ("other", SCORING.model_copy(update={"seed": 7})))
        if score(
            lm,
            [TaskSpec(task="toy_small", num_fewshot=2)],
            scoring,
            own=None,
            output=tmp_path / name,
            library=library,
        )
    ]

    contexts = [[json.loads(line)["arguments"]["gen_args_0"]["arg_0"] for line in text.splitlines()] for text in asked]
    assert contexts[0] != contexts[1]
