"""Steps, tokens, trials and items of a plan, against a real trainer, the real pruners and the real budget."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from planned import VALIDATIONS, budget, study
from transformers import Trainer, TrainingArguments

from evals.spec import GENERAL_TEXT, PortionSpec, ScoringSpec, TaskSpec
from evals.tasks.paragraphs import read_paragraphs
from sweep.budget import Spending, is_spent
from sweep.data.prepared import Manifest
from sweep.plan.benchmarks import MMLU_SUBJECTS
from sweep.plan.ranges import Range
from sweep.plan.work import scoring_work, search_trials, study_work, train_tokens
from sweep.rungs import rows_read
from sweep.shape import RowLengths
from sweep.spec import Dimension, EvaluationSpec, StudySpec, TrainingSpec

TRAIN = RowLengths(rows=100, tokens=20_000, longest=400, learned=5_000, longest_learned=90)
VALIDATION = RowLengths(rows=10, tokens=1_500, longest=300, learned=400, longest_learned=60)
TEST = RowLengths(rows=20, tokens=3_000, longest=300, learned=800, longest_learned=60)
LENGTHS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
RANKS = {"methods.lora.peft.lora_r": {"values": (8, 16, 32)}}


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "rows": {}, "sha256": {}, "dropped": (), "leaks": {}, "answer": "text", "labels": (), "constant_answers": (),
        "stop": (), "max_new_tokens": 64,
    }  # fmt: skip
    return Manifest.model_validate(values | changes)


class Lookup(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Rows of one number."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        return {"values": torch.tensor([float(place)])}


class Counter(torch.nn.Module):
    """Counts the rows that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rows = 0

    def forward(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        self.rows += len(values)
        return {"loss": (self.weight * values).mean()}


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (20, {"effective_batch_size": 4, "per_device_train_batch_size": 2, "num_train_epochs": 1}),
        (21, {"effective_batch_size": 4, "per_device_train_batch_size": 2, "num_train_epochs": 1.5}),
        (3, {"effective_batch_size": 8, "per_device_train_batch_size": 8, "num_train_epochs": 2}),
        (8, {"effective_batch_size": 16, "per_device_train_batch_size": 4, "max_steps": 5}),
        (10, {"effective_batch_size": 6, "per_device_train_batch_size": 4, "num_train_epochs": 0.3}),
        (25, {"effective_batch_size": 8, "per_device_train_batch_size": 3, "max_steps": 9}),
    ],
)
def test_steps_and_rows_are_those_of_a_real_trainer(rows: int, settings: dict[str, Any], tmp_path: Path) -> None:
    training, counter = TrainingSpec(**settings), Counter()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        use_cpu=True,
        dataloader_pin_memory=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(counter, arguments, train_dataset=Lookup(rows))
    trainer.train()

    assert trainer.state.global_step == trainer.state.max_steps == training.planned_steps(rows)
    assert counter.rows == rows_read(training, rows)


def test_a_trials_tokens_are_its_rows_times_their_mean_length() -> None:
    assert train_tokens(TrainingSpec(num_train_epochs=3), TRAIN) == 3 * 20_000
    # 8 rows make one short step of a pass: ten steps read them ten times, not ten times sixteen rows.
    few = RowLengths(rows=8, tokens=800, longest=100, learned=80)
    assert train_tokens(TrainingSpec(max_steps=10, effective_batch_size=16), few) == 10 * 800


@pytest.mark.parametrize(
    ("bounds", "space", "trials"),
    [
        ({"trials_per_method": 12}, {}, 1),
        ({"trials_per_method": 12}, RANKS, 3),
        ({"trials_per_method": 2}, RANKS, 2),
        ({"trials_per_method": 12}, None, 12),
        ({"tokens_per_method": 100_000}, None, 3),
        ({"tokens_per_method": 120_000}, None, 3),
        ({"tokens_per_method": 120_001}, None, 4),
        ({"tokens_per_method": 1}, None, 1),
        ({"tokens_per_method": 10**9}, RANKS, 3),
        ({"tokens_per_method": 10**9, "trials_per_method": 7}, None, 7),
        ({"device_hours_per_method": 1}, RANKS, 3),
        ({"device_hours_per_method": 1, "trials_per_method": 5}, None, 5),
    ],
)
def test_a_search_runs_what_its_first_bound_allows(
    bounds: dict[str, object], space: dict[str, object] | None, trials: int
) -> None:
    spec = study(budget=budget(**bounds), **({} if space is None else {"search_space": space}))

    assert search_trials(spec, "lora", 40_000) == trials


def test_hours_alone_tell_of_one_trial_what_it_does_and_not_how_many_there_are() -> None:
    spec = study(budget=budget(device_hours_per_method=1))
    search = phases(spec)["search", "full"]

    assert search_trials(spec, "full", 40_000) is None
    assert (search.steps, search.trial_tokens) == (Range.exactly(14), Range.exactly(40_000))
    assert (search.trials, search.train_tokens, search.validation_tokens, search.scored) == (None,) * 4


@pytest.mark.parametrize("tokens", [1, 39_999, 100_000, 5_000_000])
def test_a_budget_in_tokens_holds_as_many_trials_as_the_search_itself_would_begin(tokens: int) -> None:
    spec, spent = study(budget=budget(tokens_per_method=tokens)), Spending()
    while not is_spent(spec.budget, spent):
        spent += Spending(trials=1, tokens=40_000)

    assert search_trials(spec, "lora", 40_000) == spent.trials


def phases(spec: StudySpec, known: Mapping[str, int] | None = None) -> dict[tuple[str, str | None], Any]:
    return {(part.phase, part.method): part for part in study_work(spec, LENGTHS, manifest(), known or {})}


def test_a_study_is_planned_phase_by_phase() -> None:
    spec = study(budget=budget(trials_per_method=5, confirm_seeds=3))
    found = phases(spec)

    assert list(found) == [
        ("baseline", None), ("search", "lora"), ("search", "full"), ("confirm", None), ("confirm", "lora"),
        ("confirm", "full"),
    ]  # fmt: skip
    search, confirm = found["search", "lora"], found["confirm", "lora"]
    # 100 rows in steps of 16: 7 steps a pass.
    assert (search.trials, search.steps, search.train_tokens) == (
        Range.exactly(5),
        Range.exactly(14),
        Range.exactly(5 * 40_000),
    )
    assert search.validation_tokens == Range.exactly(5 * VALIDATIONS * 1_500)
    assert (confirm.trials, confirm.train_tokens) == (Range.exactly(3), Range.exactly(3 * 40_000))
    assert (search.scoring.items["own"], confirm.scoring.items["own"]) == (10, 20)
    assert [found[phase, None].scored for phase in ("baseline", "confirm")] == [Range.exactly(2)] * 2


def test_without_fresh_seeds_nothing_is_confirmed() -> None:
    assert {phase for phase, _ in phases(study(budget=budget(confirm_seeds=0)))} == {"baseline", "search"}


def test_a_validation_reads_no_more_rows_than_asked_for() -> None:
    spec = study(budget=budget(trials_per_method=5))
    lora = spec.methods["lora"]
    few = lora.model_copy(update={"training": lora.training.model_copy(update={"validation_rows": 4})})
    search = phases(spec.model_copy(update={"methods": {**spec.methods, "lora": few}}))["search", "lora"]

    assert search.validation_tokens == Range.exactly(5 * VALIDATIONS * 600)


def test_searched_lengths_set_how_far_a_trials_work_may_lie_apart() -> None:
    searched = {"training.num_train_epochs": Dimension(values=(1.0, 2.0, 6.0)).model_dump()}
    search = phases(study(search_space=searched, budget=budget(trials_per_method=9)))["search", "full"]

    assert search.trials == Range.exactly(3)
    assert search.steps == Range(7, 21, 42)
    assert search.train_tokens == Range(3 * 20_000, 3 * 60_000, 3 * 120_000)


def test_there_are_no_more_validations_than_steps() -> None:
    searched = {"training.max_steps": {"values": (2, 4, 40)}}
    search = phases(study(search_space=searched))["search", "lora"]

    # The short ones end before the longest one's first rung.
    assert (search.validation_tokens.low, search.validation_tokens.high) == (3 * 1 * 1_500, 3 * 4 * 1_500)
    assert search.validation_tokens.expected == pytest.approx((1 + 1 + 4) * 1_500)


def test_a_budget_in_tokens_is_overdrawn_by_one_trial_at_most() -> None:
    searched = {
        "training.num_train_epochs": {"values": (1.0, 2.0, 6.0)},
        "training.learning_rate": {"min": 1e-5, "max": 1e-3},
    }
    for pruner in ("none", "median"):
        spec = study(search_space=searched, budget=budget(tokens_per_method=500_000), pruner={"name": pruner})
        tokens = phases(spec)["search", "lora"].train_tokens
        assert tokens.low == 500_000
        assert tokens.low <= tokens.expected <= tokens.high == 500_000 + 120_000


def test_a_small_space_leaves_a_budget_in_tokens_unspent() -> None:
    spec = study(search_space=RANKS, budget=budget(tokens_per_method=10**9))

    assert phases(spec)["search", "lora"].train_tokens == Range.exactly(3 * 40_000)


def test_items_of_both_phases_are_divided_and_counted_once() -> None:
    tasks = (TaskSpec(task="own"), TaskSpec(task="gsm8k", limit=100), TaskSpec(task=GENERAL_TEXT, limit=0.25))
    confirm = (TaskSpec(task="own"), TaskSpec(task="gsm8k"), TaskSpec(task="mmlu", limit=200))
    # What an earlier run asked of a benchmark is not what this one will.
    found = phases(study(evaluation=EvaluationSpec(search=tasks, confirm=confirm).model_dump()), {"gsm8k": 7})
    search, confirmed = (found[phase, "lora"].scoring.items for phase in ("search", "confirm"))

    assert (search["gsm8k"], confirmed["gsm8k"]) == (100, 1219)
    assert search[GENERAL_TEXT] + confirmed[GENERAL_TEXT] == len(read_paragraphs(None))
    assert confirmed["mmlu"] == sum(min(items, 200) for items in MMLU_SUBJECTS.values())


def items_of(task: TaskSpec, known: Mapping[str, int] | None = None, **evaluation: object) -> int | None:
    spec = study(evaluation=EvaluationSpec.model_validate(evaluation).model_dump())
    return scoring_work([task], spec, VALIDATION, manifest(), known or {}).items[task.task]


def test_what_is_not_listed_is_known_from_an_earlier_run_alone() -> None:
    assert items_of(TaskSpec(task="a_task_of_ones_own"), {"a_task_of_ones_own": 33}) == 33
    assert items_of(TaskSpec(task="a_task_of_ones_own")) is None
    assert items_of(TaskSpec(task=GENERAL_TEXT), general_text="prose.txt") is None
    assert items_of(TaskSpec(task=GENERAL_TEXT), {GENERAL_TEXT: 12}, general_text="prose.txt") == 12


@pytest.mark.parametrize(("limit", "asked"), [(None, 10), (3, 3), (50, 10), (0.25, 3)])
def test_a_limit_counts_for_ones_own_rows_too(limit: float | None, asked: int) -> None:
    assert items_of(TaskSpec(task="own", limit=limit)) == asked


def test_a_portion_of_the_general_text_is_what_the_phase_has() -> None:
    whole = len(read_paragraphs(None))

    assert items_of(TaskSpec(task=GENERAL_TEXT, portion=PortionSpec(part="search", search=5))) == 5
    assert items_of(TaskSpec(task=GENERAL_TEXT, portion=PortionSpec(part="confirm", search=5))) == whole - 5


def own_tokens(task: TaskSpec, scoring: ScoringSpec | None = None, **data: object) -> tuple[Range, Range]:
    spec = study(evaluation=EvaluationSpec(scoring=scoring or ScoringSpec()).model_dump())
    work = scoring_work([task], spec, VALIDATION, manifest(**data), {})
    return work.read_tokens, work.written_tokens


def test_own_rows_are_read_for_their_loss_and_once_more_for_an_answer() -> None:
    # 1,500 tokens, of which 1,100 are prompts; an answer is 40 long as a rule, and 64 at most.
    read, written = own_tokens(TaskSpec(task="own"))

    assert read == Range.exactly(1_500 + 1_100)
    assert written == Range(10, 400, 640)
    assert own_tokens(TaskSpec(task="own", generate=False)) == (Range.exactly(1_500), Range.exactly(0))
    assert own_tokens(TaskSpec(task="own"), answer="none") == (Range.exactly(1_500), Range.exactly(0))
    assert own_tokens(TaskSpec(task="own"), answer="none", grader="grade")[1].high == 640
    assert own_tokens(TaskSpec(task="own"), ScoringSpec(max_new_tokens=8))[1] == Range(10, 80, 80)
    assert own_tokens(TaskSpec(task="own", limit=5), answer="none")[0] == Range.exactly(750)


def test_each_label_is_read_after_each_prompt_unless_there_are_too_many() -> None:
    silent = TaskSpec(task="own", generate=False)
    three, many = ("a", "b", "c"), tuple(str(number) for number in range(65))

    assert own_tokens(silent, answer="label", labels=three)[0] == Range.exactly(4 * 1_500)
    assert own_tokens(silent, answer="label", labels=three, label_by="generation")[0] == Range.exactly(1_500)
    assert own_tokens(silent, answer="label", labels=many)[0] == Range.exactly(1_500)
