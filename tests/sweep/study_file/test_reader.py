"""A sound study file becomes a StudySpec with every default in it, and reads back as the same one."""

import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import studies
from sweep.errors import StudyFileError
from sweep.files import write_yaml
from sweep.spec import Dimension, QuantizationSpec, StudySpec
from sweep.store import RunDirectory, write_study
from sweep.study_file import reader
from sweep.study_file.method_rules import _SCHEDULE_ARGUMENTS, OPTIMIZERS

GOLDEN = Path(__file__).parents[2] / "golden"
SHORT = GOLDEN / "study_short.yaml"
HEAD = "name: tickets\nmodel: {model_name_or_path: org/model}\ndata: {train: org/rows}\n"


def load_text(tmp_path: Path, text: str, *overrides: str) -> StudySpec:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return reader.load(path, overrides)


def test_a_short_file_is_filled_as_the_golden_one(tmp_path: Path) -> None:
    filled = tmp_path / "filled.yaml"
    write_yaml(filled, reader.load(SHORT, check_files=False))

    assert filled.read_text() == (GOLDEN / "study_short_filled.yaml").read_text()


@pytest.mark.parametrize("path", [SHORT, *studies.bundled().values()], ids=lambda path: path.stem)
def test_a_dumped_study_reads_back_as_the_same_study(path: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    spec = reader.load(path, check_files=False)
    write_study(run, spec)

    assert reader.load(run.study_file, check_files=False) == spec
    assert run.read_study() == spec


def test_text_that_looks_like_something_else_survives_the_round_trip(tmp_path: Path) -> None:
    schema = "{required: ['1e5'], properties: {'on': {enum: [null, 1, 'no', true]}, 'yes': {minimum: 0.5}}}"
    head = HEAD.replace("org/rows", f"org/rows, answer: json, json_schema: {schema}")
    text = head + "methods: [lora]\nstorage: '1e5'\ntracking: {tracking_uri: 'on'}\n"
    spec = load_text(tmp_path, text.replace("name: tickets", "name: 2024-01-01"))
    run = RunDirectory(tmp_path / "run")
    write_study(run, spec)

    assert (spec.name, spec.storage, spec.tracking.tracking_uri) == ("2024-01-01", "1e5", "on")
    assert reader.load(run.study_file) == spec


def test_numbers_and_words_follow_yaml_1_2(tmp_path: Path) -> None:
    settings = "training: {learning_rate: 1e-5, weight_decay: 1.E-2, max_length: 0x10, num_train_epochs: 1}\n"
    spec = load_text(tmp_path, HEAD + "methods: [lora]\n" + settings + "storage: on\n")

    assert (spec.training.learning_rate, spec.training.weight_decay) == (1e-5, 1e-2)
    assert spec.training.max_length == 16
    assert spec.storage == "on"


def test_a_method_may_be_a_name_alone_in_a_list_or_a_mapping(tmp_path: Path) -> None:
    listed = load_text(tmp_path, HEAD + "methods: [lora, qlora, full]\n")
    mapped = load_text(tmp_path, HEAD + "methods:\n  lora:\n  qlora: {}\n  full: {training: }\n")

    assert listed == mapped
    assert [method.kind for method in listed.methods.values()] == ["lora", "qlora", "full"]


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ("kind: full", "full"),
        ("peft: {lora_r: 4}", "lora"),
        ("load_in_4bit: true", "qlora"),
        ("load_in_4bit: true, peft: {lora_r: 4}", "qlora"),
        ("quantization: {bnb_4bit_quant_type: fp4}", "qlora"),
    ],
)
def test_a_method_of_another_name_shows_its_kind_by_its_keys(keys: str, kind: str, tmp_path: Path) -> None:
    spec = load_text(tmp_path, HEAD + f"methods: {{mine: {{{keys}}}}}\n")

    assert spec.methods["mine"].kind == kind


def test_only_qlora_is_quantized_and_only_adapters_have_a_shape(tmp_path: Path) -> None:
    methods = load_text(tmp_path, HEAD + "methods: [lora, qlora, full]\n").methods

    assert {name: method.load_in_4bit for name, method in methods.items()} == {
        "lora": False,
        "qlora": True,
        "full": False,
    }
    assert [method.quantization for method in methods.values()] == [None, QuantizationSpec(), None]
    assert [method.peft is None for method in methods.values()] == [False, False, True]


def test_full_fine_tuning_has_a_tenth_of_the_rate_unless_a_rate_is_set(tmp_path: Path) -> None:
    unset = load_text(tmp_path, HEAD + "methods: [lora, full]\n")
    shared = load_text(tmp_path, HEAD + "methods: [lora, full]\ntraining: {learning_rate: 3.0e-4}\n")
    own = load_text(tmp_path, HEAD + "methods: {lora: , full: {training: {learning_rate: 1e-6}}}\n")

    def rates(spec: StudySpec) -> list[float]:
        return [method.training.learning_rate for method in spec.methods.values()]

    assert (rates(unset), rates(shared), rates(own)) == ([2e-4, 2e-5], [3e-4, 3e-4], [2e-4, 1e-6])


def test_a_methods_training_keys_lie_over_the_studys(tmp_path: Path) -> None:
    text = "methods: {lora: {training: {weight_decay: 0.1}}}\ntraining: {weight_decay: 0.2, num_train_epochs: 5}\n"
    training = load_text(tmp_path, HEAD + text).methods["lora"].training

    assert (training.weight_decay, training.num_train_epochs) == (0.1, 5)


def test_without_a_search_space_rate_and_rank_are_searched_under_their_own_keys(tmp_path: Path) -> None:
    space = load_text(tmp_path, HEAD + "methods: [lora, full]\nsearch_space:\n").search_space

    assert space == {
        "methods.lora.training.learning_rate": Dimension(min=5e-5, max=1e-3, log=True),
        "methods.lora.peft.lora_r": Dimension(values=(8, 16, 32, 64)),
        "methods.full.training.learning_rate": Dimension(min=5e-6, max=1e-4, log=True),
    }


def test_a_given_search_space_stands_as_it_is(tmp_path: Path) -> None:
    empty = load_text(tmp_path, HEAD + "methods: [lora]\nsearch_space: {}\n")
    given = load_text(tmp_path, HEAD + "methods: [lora]\nsearch_space: {training.weight_decay: {values: [0.0, 0.1]}}\n")

    assert empty.search_space == {}
    assert given.search_space == {"training.weight_decay": Dimension(values=(0.0, 0.1))}


def test_a_method_may_be_searched_apart_from_the_others(tmp_path: Path) -> None:
    text = """methods: [lora, full]
search_space:
  training.effective_batch_size: {values: [16, 32]}
  methods.full.training.effective_batch_size: {values: [8]}
  methods.lora.peft.lora_target_modules: {values: [all-linear, [q_proj, v_proj]]}
  training.lr_scheduler_kwargs.num_cycles: {values: [0.5, 1.0]}
starting_points:
  lora: [{methods.lora.peft.lora_target_modules: [q_proj, v_proj], training.effective_batch_size: 32}]
"""
    spec = load_text(tmp_path, HEAD + text)

    assert spec.starting_points["lora"][0]["methods.lora.peft.lora_target_modules"] == ("q_proj", "v_proj")


def test_tasks_may_be_named_by_a_word(tmp_path: Path) -> None:
    tasks = "evaluation: {search: [own], confirm: [own, {task: mmlu, limit: 5}, gsm8k]}\n"
    spec = load_text(tmp_path, HEAD + "methods: [lora]\n" + tasks)

    assert [(task.task, task.limit) for task in spec.evaluation.confirm] == [
        ("own", None),
        ("mmlu", 5),
        ("gsm8k", None),
    ]


def test_the_objective_may_be_a_task_within_a_group(tmp_path: Path) -> None:
    text = "methods: [lora]\nevaluation: {search: [mmlu]}\nobjective: {maximize: mmlu_stem/acc}\n"

    assert load_text(tmp_path, HEAD + text).objective.metric == "mmlu_stem/acc"


def test_an_anchor_may_share_settings_between_methods(tmp_path: Path) -> None:
    text = "methods:\n  lora: &shared {peft: {lora_r: 4}}\n  qlora: {<<: *shared, load_in_4bit: true}\n"
    methods = load_text(tmp_path, HEAD + text).methods

    assert [method.peft.lora_r for method in methods.values() if method.peft] == [4, 4]


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("seed=3", "seed", 3),
        ("training.learning_rate=1e-5", "training.learning_rate", 1e-5),
        ("training={weight_decay: 0.5}", "training.weight_decay", 0.5),
        ("methods.lora.peft.lora_r=4", "methods.lora.peft.lora_r", 4),
        ("model.revision='7'", "model.revision", "7"),
        ("evaluation.search.0.limit=9", "evaluation.search.0.limit", 9),
        ("tracking.tracking_uri=http://host/a=b", "tracking.tracking_uri", "http://host/a=b"),
        ("data.group=", "data.group", None),
    ],
)
def test_an_override_sets_any_key(override: str, place: str, value: object, tmp_path: Path) -> None:
    text = HEAD + "methods: [lora]\nevaluation: {search: [own]}\n"

    found: Any = load_text(tmp_path, text, override).model_dump(mode="json")
    for step in place.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert found == value


def test_an_override_reaches_a_searched_key_through_its_dots(tmp_path: Path) -> None:
    text = HEAD + "methods: [lora]\nsearch_space: {methods.lora.peft.lora_r: {values: [8, 16]}}\n"
    whole = load_text(tmp_path, text, "search_space.methods.lora.peft.lora_r={values: [8]}")
    part = load_text(tmp_path, text, "search_space.methods.lora.peft.lora_r.values=[8]")
    new = load_text(tmp_path, text, "search_space.training.weight_decay.values=[0.5]")

    assert whole.search_space == part.search_space == {"methods.lora.peft.lora_r": Dimension(values=(8,))}
    assert new.search_space["training.weight_decay"] == Dimension(values=(0.5,))


def test_an_override_reaches_a_method_whose_name_has_a_dot(tmp_path: Path) -> None:
    text = HEAD + "methods: {r8.small: {kind: lora}}\n"
    spec = load_text(
        tmp_path, text, "methods.r8.small.peft.lora_r=2", "search_space.methods.r8.small.peft.lora_r.values=[2]"
    )

    assert spec.methods["r8.small"].peft is not None
    assert spec.methods["r8.small"].peft.lora_r == 2
    assert list(spec.search_space) == ["methods.r8.small.peft.lora_r"]


def test_overrides_apply_in_order_and_may_replace_the_methods(tmp_path: Path) -> None:
    spec = load_text(
        tmp_path, HEAD + "methods: [lora, full]\n", "methods=[qlora]", "methods.qlora.peft.lora_r=4", "seed=1", "seed=2"
    )

    assert list(spec.methods) == ["qlora"]
    assert spec.methods["qlora"].peft is not None
    assert (spec.methods["qlora"].peft.lora_r, spec.seed) == (4, 2)


def test_an_override_mends_what_the_file_has_wrong(tmp_path: Path) -> None:
    spec = load_text(tmp_path, HEAD + "methods: [lora]\nseed: many\n", "seed=1")

    assert spec.seed == 1


def test_data_files_are_looked_for_beside_the_study_or_where_told(tmp_path: Path) -> None:
    study, elsewhere = tmp_path / "study", tmp_path / "data"
    study.mkdir()
    elsewhere.mkdir()
    (elsewhere / "tickets.jsonl").touch()
    path = study / "study.yaml"
    path.write_text(SHORT.read_text())

    assert reader.load(path, data_root=elsewhere) == reader.load(path, check_files=False)
    with pytest.raises(StudyFileError, match=r"no file 'tickets\.jsonl'"):
        reader.load(path)


def test_a_hub_data_set_and_its_splits_are_no_files(tmp_path: Path) -> None:
    text = HEAD.replace("org/rows", "org/rows, validation: dev, test: test") + "methods: [lora]\n"

    assert load_text(tmp_path, text).data.test == "test"


ODD_VALUES = (
    "",
    "[]",
    "{}",
    "x",
    "-1",
    "1.5",
    ".nan",
    "[[x]]",
    "{a: 1}",
    "{values: [0, x, [a], null]}",
    "{min: 0, max: 1}",
)


def keys_of(value: object, place: str = "") -> list[str]:
    if not isinstance(value, Mapping):
        return [place] if place else []
    inner = [name for key, item in value.items() for name in keys_of(item, f"{place}.{key}".removeprefix("."))]
    return [*([place] if place else []), *inner]


def test_an_odd_value_of_any_key_is_taken_or_answered_in_lines() -> None:
    filled = YAML(typ="safe", pure=True).load(GOLDEN / "study_short_filled.yaml")
    keys = [key for key in keys_of(filled) if not key.startswith(("methods.lora.", "methods.full."))]

    lines = [line for key in keys for value in ODD_VALUES for line in complaints_about(f"{key}={value}")]

    assert len(lines) > len(keys)
    assert [line for line in lines if not re.fullmatch(r"[^\n]+[.?]", line)] == []


def complaints_about(override: str) -> list[str]:
    try:
        reader.load(SHORT, [override], check_files=False)
    except StudyFileError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_reading_a_study_imports_no_torch_transformers_or_optuna() -> None:
    program = (
        "import sys; from pathlib import Path; from sweep.study_file import reader; "
        f"reader.load(Path({str(SHORT)!r}), check_files=False); reader.json_schema(); "
        "print([name for name in ('torch', 'transformers', 'optuna', 'datasets', 'lm_eval') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_known_optimizers_and_schedule_arguments_are_those_of_transformers() -> None:
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert {name.value for name in OptimizerNames} | {"auto"} >= OPTIMIZERS
    for schedule, arguments in _SCHEDULE_ARGUMENTS.items():
        parameters = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(schedule)]).parameters
        given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
        assert arguments == parameters.keys() - given


EPOCHS = "search_space: {training.num_train_epochs: {values: [1.0, 3.0]}}\n"


@pytest.mark.parametrize(
    ("text", "schedules"),
    [
        ("pruner: {name: hyperband}\n" + EPOCHS, ["warmup_stable_decay", "warmup_stable_decay"]),
        # Whoever asks for no pruner, or says nothing, gets what they always got; so does whoever names a schedule.
        ("pruner: {name: none}\n" + EPOCHS, ["cosine", "cosine"]),
        (EPOCHS, ["cosine", "cosine"]),
        ("pruner: {name: median}\n", ["cosine", "cosine"]),
        ("pruner: {name: median}\ntraining: {lr_scheduler_type: linear}\n" + EPOCHS, ["linear", "linear"]),
        ("pruner: {name: median}\ntraining: {lr_scheduler_kwargs: {num_cycles: 1}}\n" + EPOCHS, ["cosine", "cosine"]),
        (
            "pruner: {name: median}\nsearch_space: {methods.lora.training.max_steps: {values: [10, 20]}}\n",
            ["warmup_stable_decay", "cosine"],
        ),
    ],
)
def test_a_schedule_that_a_pruner_can_compare_is_chosen_where_lengths_are_searched(
    tmp_path: Path, text: str, schedules: list[str]
) -> None:
    spec = load_text(tmp_path, HEAD + "methods: [lora, full]\n" + text)

    assert [method.training.lr_scheduler_type for method in spec.methods.values()] == schedules
    run = RunDirectory(tmp_path / "run")
    write_study(run, spec)
    assert reader.load(run.study_file) == spec
