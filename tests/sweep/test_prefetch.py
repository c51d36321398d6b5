"""Fetching a study's needs from a Hub on this machine, over real HTTP, and reading them where there is none."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from evals.models.load import load_tokenizer
from evals.models.source import local_model
from evals.spec import ModelSpec, TaskSpec
from evals.tasks.library import TaskLibrary
from sweep.errors import RunError, TaskError
from sweep.prefetch import Fetched, Wanted, damaged, plan, prefetch, read_manifest
from sweep.spec import DataSpec, EvaluationSpec, MethodSpec, StudySpec, TrainingSpec

SPEC = importlib.util.spec_from_file_location("fake_hub", Path(__file__).parents[1] / "toys" / "fake_hub.py")
assert SPEC is not None
assert SPEC.loader is not None
fake_hub = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fake_hub)

QUESTIONS = Wanted(kind="dataset", name="toys/questions")
TINY = Wanted(kind="model", name="toys/tiny")
ROWS = b'{"question": "Is it?", "answer": 0}\n'


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["fake_hub.FakeHub"]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    huggingface_hub.utils.disable_progress_bars()
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()} | {"pytorch_model.bin": b"not needed"}
    repositories = {
        "models/toys/tiny": files,
        "datasets/toys/questions": {"data/test-00000.jsonl": ROWS, "README.md": b"# Questions\n"},
        "spaces/evaluate-metric/toy_metric": {"toy_metric.py": b"# a metric\n"},
    }
    with fake_hub.serving(fake_hub.FakeHub(repositories)) as served:
        yield served
    huggingface_hub.utils.enable_progress_bars()


def fetch(hub: "fake_hub.FakeHub", to: Path, *wanted: Wanted) -> list[bool]:
    heard: list[bool] = []

    def tell(_: Fetched, is_new: bool) -> None:
        heard.append(is_new)

    prefetch(wanted, to, endpoint=hub.endpoint, on_fetched=tell)
    return heard


def study(**evaluation: object) -> StudySpec:
    return StudySpec(
        name="toy",
        model=ModelSpec(model_name_or_path="toys/tiny", revision="v1"),
        data=DataSpec(train="toys/own", hub_revision="v2"),
        methods={"full": MethodSpec(kind="full", training=TrainingSpec())},
        evaluation=EvaluationSpec.model_validate(evaluation),
    )


def test_what_was_fetched_is_a_data_root_with_a_manifest_of_commits_and_hashes(hub, tmp_path: Path) -> None:
    metric = Wanted(kind="metric", name="toy_metric")
    assert fetch(hub, tmp_path, TINY, QUESTIONS, metric) == [True, True, True]

    assert (tmp_path / "toys" / "questions" / "data" / "test-00000.jsonl").read_bytes() == ROWS
    assert (tmp_path / "metrics" / "toy_metric" / "toy_metric.py").is_file()
    assert load_tokenizer(
        local_model(ModelSpec(model_name_or_path="toys/tiny"), tmp_path), cache=tmp_path
    ).chat_template
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["parts"][1]["commit"] == hub.commit("datasets/toys/questions")
    assert {file["path"] for file in manifest["parts"][1]["files"]} == {"README.md", "data/test-00000.jsonl"}
    assert not (tmp_path / "models" / "toys" / "tiny" / "pytorch_model.bin").exists()


def test_running_it_again_checks_every_file_and_asks_nobody(hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, QUESTIONS)
    hub.asked.clear()

    assert fetch(hub, tmp_path, QUESTIONS) == [False]
    assert hub.asked == []


@pytest.mark.parametrize("harm", ["altered", "removed"])
def test_a_file_that_no_longer_matches_is_fetched_again(hub, tmp_path: Path, harm: str) -> None:
    fetch(hub, tmp_path, QUESTIONS)
    rows = tmp_path / "toys" / "questions" / "data" / "test-00000.jsonl"
    rows.unlink() if harm == "removed" else rows.write_bytes(ROWS.replace(b"0", b"1"))
    assert damaged(read_manifest(tmp_path).parts[0], tmp_path) == ["data/test-00000.jsonl"]

    assert fetch(hub, tmp_path, QUESTIONS) == [True]
    assert rows.read_bytes() == ROWS


def test_a_part_that_fails_keeps_what_came_before_and_is_gone_on_with(hub, tmp_path: Path) -> None:
    hub.broken.add("data/test-00000.jsonl")
    with pytest.raises(RunError, match=r"toys/questions: cannot be fetched: .*Run the same command again"):
        fetch(hub, tmp_path, TINY, QUESTIONS)
    assert [part.wanted for part in read_manifest(tmp_path).parts] == [TINY]

    hub.broken.clear()
    assert fetch(hub, tmp_path, TINY, QUESTIONS) == [False, True]


def test_a_file_that_arrives_altered_is_refused(hub, tmp_path: Path) -> None:
    hub.altered.add("data/test-00000.jsonl")

    with pytest.raises(RunError, match="another SHA-256 than the Hub states"):
        fetch(hub, tmp_path, QUESTIONS)
    assert read_manifest(tmp_path).parts == ()


def test_a_repository_that_is_not_there_is_named(hub, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="toys/nothing: cannot be fetched"):
        fetch(hub, tmp_path, Wanted(kind="dataset", name="toys/nothing"))


def test_a_manifest_that_cannot_be_read_is_not_overwritten(hub, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")

    with pytest.raises(RunError, match="not a manifest"):
        fetch(hub, tmp_path, QUESTIONS)


def test_the_plan_names_model_own_data_benchmarks_metrics_and_graders_once(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "toy.yaml").write_text(
        "task: toy\ndataset_path: toys/questions\ntest_split: test\noutput_type: generate_until\n"
        "metric_list: [{metric: toy_metric, hf_evaluate: true}]\n"
    )
    (tasks / "local.yaml").write_text("task: local\ndataset_path: json\ntest_split: test\n")
    asked = [TaskSpec(task=name) for name in ("own", "toy", "local", "ifeval", "mmlu")]

    wanted = plan(study(search=asked[:2], confirm=asked), data_root=tmp_path, library=TaskLibrary(include=tasks))

    assert wanted == [
        Wanted(kind="model", name="toys/tiny", revision="v1"),
        Wanted(kind="dataset", name="toys/own", revision="v2"),
        QUESTIONS,
        Wanted(kind="metric", name="toy_metric"),
        Wanted(kind="dataset", name="google/IFEval"),
        Wanted(kind="nltk", name="punkt_tab"),
        Wanted(kind="dataset", name="cais/mmlu"),
    ]


def test_models_in_packages_and_directories_need_no_fetching(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    for name in ("package:some_model", str(tiny_model)):
        update = {"model": ModelSpec(model_name_or_path=name), "data": DataSpec(train="rows.jsonl")}
        spec = study(search=[TaskSpec(task="own")]).model_copy(update=update)
        assert plan(spec, data_root=tmp_path) == []


def test_an_unknown_task_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="gsm8q: no task or group"):
        plan(study(search=[TaskSpec(task="gsm8q")]), data_root=tmp_path)
