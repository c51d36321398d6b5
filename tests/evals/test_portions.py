"""Items that choose and items that report: which is which, and that nobody is both."""

import json
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import TaskError
from evals.harness import load_tasks, score
from evals.items import Item, read_items
from evals.models.scored import load_lm
from evals.spec import ModelSpec, PortionSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary
from evals.tasks.portions import chosen, refuse_shared_items

SCORING = ScoringSpec(batch_size=4)
COUNTS = {"toy_one": 10, "toy_two": 5}
CHOICE = """
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
GROUP = (
    "group: toy_both\ntask: [toy_one, toy_two]\naggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    "metadata: {version: 1}\n"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TaskLibrary:
    """Two tasks, a group of both, and the first task's questions again under another name."""
    tasks, data = tmp_path_factory.mktemp("tasks"), tmp_path_factory.mktemp("data")
    for name, source, count in (*((name, name, count) for name, count in COUNTS.items()), ("toy_again", "toy_one", 10)):
        rows = [{"question": f"{source} {number}?", "answer": number % 2} for number in range(count)]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tasks / f"{name}.yaml").write_text(CHOICE.format(name=name, data=data / f"{name}.jsonl", cache=data / name))
    (tasks / "group.yaml").write_text(GROUP)
    return TaskLibrary(include=tasks)


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=4)


def part_of(name: str, part: str, size: float, limit: float | None = None) -> TaskSpec:
    return TaskSpec(task=name, limit=limit, portion=PortionSpec(part=part, search=size))


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (30, 30), (99, 99), (0.2, 20), (0.985, 99), (0.001, 1)])
def test_the_two_parts_hold_every_item_once_whatever_the_size(size: float, expected: int) -> None:
    search, confirm = (chosen("arc_easy", 100, part_of("arc_easy", part, size)) for part in ("search", "confirm"))

    assert not set(search) & set(confirm)
    assert sorted(search + confirm) == list(range(100))
    assert len(search) == expected
    assert search == sorted(search)


def test_the_searchs_items_are_drawn_over_the_whole_data_set_and_differ_between_tasks() -> None:
    drawn = chosen("arc_easy", 10_000, part_of("arc_easy", "search", 1_000))

    thirds = [sum(low <= place < low + 2_500 for place in drawn) for low in range(0, 10_000, 2_500)]
    # Four equal parts, each binomial with a standard deviation of about 13.
    assert all(200 < count < 300 for count in thirds)
    assert drawn != chosen("arc_challenge", 10_000, part_of("arc_challenge", "search", 1_000))


def test_more_items_for_the_search_keep_those_that_it_had() -> None:
    few, many = (set(chosen("piqa", 500, part_of("piqa", "search", size))) for size in (50, 80))

    assert few < many


def test_a_limit_of_confirm_counts_among_the_items_that_are_left() -> None:
    everything = chosen("piqa", 50, part_of("piqa", "confirm", 10))

    assert chosen("piqa", 50, part_of("piqa", "confirm", 10, limit=5)) == everything[:5]
    assert chosen("piqa", 50, part_of("piqa", "confirm", 10, limit=0.5)) == everything[:20]


@pytest.mark.parametrize("size", [5, 6, 0.99])
def test_a_search_that_leaves_nothing_to_confirm_with_is_refused(size: float) -> None:
    with pytest.raises(TaskError, match="all of its 5 items and leave none to confirm with"):
        chosen("toy_two", 5, part_of("toy_two", "search", size))


def ask(lm: HFLM, library: TaskLibrary, task: TaskSpec, output: Path) -> list[Item]:
    score(lm, [task], SCORING, own=None, output=output, library=library)
    return read_items(output)


def test_a_group_is_scored_on_disjoint_items_of_each_of_its_tasks(
    lm: HFLM, library: TaskLibrary, tmp_path: Path
) -> None:
    search, confirm, whole = (
        ask(lm, library, task, tmp_path / name)
        for name, task in {
            "search": part_of("toy_both", "search", 0.4),
            "confirm": part_of("toy_both", "confirm", 0.4),
            "whole": TaskSpec(task="toy_both"),
        }.items()
    )

    def keys(items: list[Item]) -> set[tuple[str, int, str]]:
        return {(item.task, item.doc_id, item.doc_hash) for item in items}

    assert not keys(search) & keys(confirm)
    # Places and hashes are those of the data set, so that items can be paired with a score of all of them.
    assert keys(search) | keys(confirm) == keys(whole)
    assert {name: sum(item.task == name for item in search) for name in COUNTS} == {"toy_one": 4, "toy_two": 2}
    by_key = {(item.task, item.doc_id): item.scores["acc"] for item in whole}
    assert all(item.scores["acc"] == by_key[item.task, item.doc_id] for item in (*search, *confirm))


def test_the_groups_score_is_over_its_portion_alone(lm: HFLM, library: TaskLibrary, tmp_path: Path) -> None:
    task = part_of("toy_both", "confirm", 2)

    result = score(lm, [task], SCORING, own=None, output=tmp_path / "eval", library=library)

    items = read_items(tmp_path / "eval")
    assert result.metrics["toy_both/acc"].n == len(items) == 8 + 3
    assert result.metrics["toy_both/acc"].value == pytest.approx(sum(item.scores["acc"] for item in items) / 11)


@pytest.mark.parametrize(("search", "confirm"), [("toy_one", "toy_again"), ("toy_one", "toy_both")])
def test_items_of_the_search_that_come_again_under_another_name_are_refused(
    library: TaskLibrary, search: str, confirm: str
) -> None:
    def loaded(name: str) -> list:
        return load_tasks([TaskSpec(task=name)], SCORING, own=None, library=library)

    with pytest.raises(TaskError, match=rf"10 items of '{search}'.*asked again in confirm by '{confirm}'"):
        refuse_shared_items(loaded(search), loaded(confirm))
    refuse_shared_items(loaded("toy_two"), loaded(search))
    refuse_shared_items(loaded(search), loaded(search))
