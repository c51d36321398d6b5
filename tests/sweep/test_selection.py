"""What each phase is scored on: no item chooses and reports."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from toy_runner import toy_study

from evals.spec import PortionSpec, TaskSpec
from sweep.config import configure, configure_baseline
from sweep.selection import SEARCH_SHARE, division_notes, tasks_of
from sweep.spec import EvaluationSpec


def evaluation(search: list, confirm: list, **settings: object) -> EvaluationSpec:
    settings = {"general_text": False, **settings}
    return EvaluationSpec(
        search=tuple(TaskSpec.model_validate(task) for task in search),
        confirm=tuple(TaskSpec.model_validate(task) for task in confirm),
        **settings,
    )


BOTH = evaluation(
    [{"task": "own"}, {"task": "mmlu", "limit": 30}, {"task": "arc_easy"}],
    [{"task": "own"}, {"task": "mmlu"}, {"task": "arc_easy", "limit": 100}, {"task": "gsm8k", "limit": 7}],
)


def test_a_task_of_both_phases_is_divided_by_the_searchs_limit_or_a_share() -> None:
    search = {task.task: task for task in tasks_of(BOTH, "search")}
    confirm = {task.task: task for task in tasks_of(BOTH, "confirm")}

    assert (search["mmlu"].limit, search["mmlu"].portion) == (None, PortionSpec(part="search", search=30))
    assert (confirm["mmlu"].limit, confirm["mmlu"].portion) == (None, PortionSpec(part="confirm", search=30))
    assert search["arc_easy"].portion == PortionSpec(part="search", search=SEARCH_SHARE)
    assert confirm["arc_easy"].limit == 100
    assert confirm["arc_easy"].portion == PortionSpec(part="confirm", search=SEARCH_SHARE)


def test_tasks_of_one_phase_and_the_users_own_rows_are_asked_whole() -> None:
    confirm = {task.task: task for task in tasks_of(BOTH, "confirm")}

    assert confirm["own"].portion is None
    assert confirm["gsm8k"] == TaskSpec(task="gsm8k", limit=7)
    assert tasks_of(BOTH, "search")[0] == TaskSpec(task="own")


def test_the_base_model_is_asked_what_the_trials_of_its_phase_are() -> None:
    spec = toy_study(evaluation=BOTH)
    root = Path("/data")

    baseline = configure_baseline(spec, phase="baseline", data_root=root)
    trial = configure(spec, "lora", {}, phase="search", number=0, seed=0, data_root=root)
    base, finalist = (
        configure_baseline(spec, phase="confirm", data_root=root),
        configure(spec, "lora", {}, phase="confirm", number=1, seed=9, data_root=root),
    )

    assert baseline.tasks == trial.tasks == tasks_of(BOTH, "search")
    assert base.tasks == finalist.tasks == tasks_of(BOTH, "confirm")
    assert {baseline.split, trial.split} == {"validation"}
    assert {base.split, finalist.split} == {"test"}


def test_the_general_text_is_read_in_confirm_unless_it_is_switched_off() -> None:
    default = evaluation([{"task": "own"}], [{"task": "own"}], general_text=True)
    own = evaluation([{"task": "own"}], [{"task": "own"}], general_text="mine.txt")
    listed = evaluation([{"task": "own"}], [{"task": "general_text", "limit": 3}], general_text=True)

    assert [task.task for task in tasks_of(default, "search")] == ["own"]
    assert [task.task for task in tasks_of(default, "confirm")] == ["own", "general_text"]
    assert tasks_of(listed, "confirm") == (TaskSpec(task="general_text", limit=3),)
    config = configure_baseline(toy_study(evaluation=own), phase="confirm", data_root=Path("/data"))
    assert config.scoring.general_text == Path("/data/mine.txt")


def test_a_person_is_told_what_is_divided() -> None:
    mmlu, arc = division_notes(BOTH)

    assert (
        mmlu == "mmlu: scored in both phases, and no item in both: the search has 30 items of each task, confirm "
        "the others."
    )
    assert "20% of each task's items" in arc
    assert division_notes(evaluation([{"task": "own"}], [{"task": "own"}, {"task": "mmlu"}])) == []


@pytest.mark.parametrize(
    "change",
    [
        {"split": "test"},
        {"tasks": [{"task": "mmlu", "portion": {"part": "confirm", "search": 30}}]},
        {"phase": "confirm", "split": "test", "tasks": [{"task": "mmlu", "portion": {"part": "search", "search": 30}}]},
    ],
)
def test_a_config_in_which_a_phase_sees_what_is_not_its_own_cannot_be_made(change: dict) -> None:
    trial = configure(toy_study(), "lora", {}, phase="search", number=0, seed=0, data_root=Path("/data"))

    with pytest.raises(ValidationError, match="phase cannot"):
        type(trial).model_validate({**trial.model_dump(), **change})
