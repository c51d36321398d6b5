"""Benchmarks from a directory in the Hub's layout: the right rows, and nothing from the network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import TaskError
from evals.harness import score
from evals.models.load import load_tokenizer
from evals.models.scored import load_lm
from evals.models.source import local_model
from evals.offline import content_sha256, reading_from
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary

ROOT = Path(__file__).parents[2]
NO_NETWORK = ROOT / "tests" / "toys" / "no_network.py"
TASK = """
task: toy_{kind}
dataset_path: toys/{kind}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""

MakeRoot = Callable[..., Path]


@pytest.fixture
def make_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRoot:
    """A data root whose one data set asks these questions."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def make(name: str, *questions: str) -> Path:
        folder = tmp_path / name / "toys" / "questions" / "data"
        folder.mkdir(parents=True)
        rows = [{"question": question, "answer": 0} for question in questions]
        (folder / "test-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return make


@pytest.fixture
def library(tmp_path: Path) -> TaskLibrary:
    (tmp_path / "tasks").mkdir()
    for kind in ("questions", "absent"):
        (tmp_path / "tasks" / f"{kind}.yaml").write_text(TASK.format(kind=kind))
    return TaskLibrary(include=tmp_path / "tasks")


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=2)


def questions(library: TaskLibrary, data_root: Path) -> list[str]:
    loaded = library.load(TaskSpec(task="toy_questions"), ScoringSpec(data_root=data_root))
    return [doc["question"] for doc in loaded.items[0].test_docs()]


def test_two_roots_with_data_sets_of_one_name_never_mix(make_root: MakeRoot, library: TaskLibrary) -> None:
    one, two = make_root("one", "Is it one?"), make_root("two", "Is it two?")

    assert questions(library, one) == ["Is it one?"]
    assert questions(library, two) == ["Is it two?"]
    assert questions(TaskLibrary(include=library._include), one) == ["Is it one?"]


def test_rows_that_were_changed_in_place_are_read_anew(make_root: MakeRoot, library: TaskLibrary) -> None:
    root = make_root("root", "Is it old?")
    assert questions(library, root) == ["Is it old?"]
    rows = root / "toys" / "questions" / "data" / "test-00000.jsonl"
    rows.write_text(rows.read_text().replace("old", "new"))

    assert questions(TaskLibrary(include=library._include), root) == ["Is it new?"]


def test_data_that_are_not_in_the_root_are_named_with_the_folder_looked_for(
    make_root: MakeRoot, library: TaskLibrary
) -> None:
    root = make_root("root", "Is it?")

    with pytest.raises(TaskError) as told:
        library.load(TaskSpec(task="toy_absent"), ScoringSpec(data_root=root))

    assert f"no folder {root / 'toys' / 'absent'}. Fetch it with sweep prefetch" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_root_without_the_tasks_split_is_named(make_root: MakeRoot, library: TaskLibrary) -> None:
    root = make_root("root", "Is it?")
    rows = root / "toys" / "questions" / "data" / "test-00000.jsonl"
    rows.rename(rows.with_name("train-00000.jsonl"))

    with pytest.raises(TaskError, match=r"toy_questions: cannot be loaded.*are read from .*toys/questions"):
        library.load(TaskSpec(task="toy_questions"), ScoringSpec(data_root=root))


def test_the_hub_is_out_of_reach_while_a_root_is_read_and_as_before_after_it(
    make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")

    with reading_from(make_root("root", "Is it?")):
        assert huggingface_hub.is_offline_mode()
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        with pytest.raises(huggingface_hub.errors.OfflineModeIsEnabled):
            huggingface_hub.HfApi().dataset_info("toys/questions")
    with reading_from(None):
        assert not huggingface_hub.is_offline_mode()

    assert not huggingface_hub.is_offline_mode()
    assert "HF_HUB_OFFLINE" not in os.environ


def test_hidden_files_do_not_count_as_content_and_names_do(make_root: MakeRoot) -> None:
    root = make_root("root", "Is it?")
    before = content_sha256(root)
    (root / ".cache").mkdir()
    (root / ".cache" / "lock").write_text("1")

    assert content_sha256(root) == before
    (root / "empty").write_text("")
    assert content_sha256(root) != before


def test_a_model_in_the_root_takes_the_hubs_place(tiny_model: Path, tmp_path: Path) -> None:
    asked = ModelSpec(model_name_or_path="toys/tiny", revision="v1")
    (tmp_path / "models" / "toys").mkdir(parents=True)
    (tmp_path / "models" / "toys" / "tiny").symlink_to(tiny_model)

    found = local_model(asked, tmp_path)

    assert load_tokenizer(found, cache=tmp_path).chat_template
    assert found.revision is None
    assert local_model(asked, None) is asked
    assert local_model(asked, tmp_path / "elsewhere") is asked


def test_scores_read_from_a_root_are_recorded_with_what_was_asked(
    make_root: MakeRoot, library: TaskLibrary, lm: HFLM, tmp_path: Path
) -> None:
    task = TaskSpec(task="toy_questions", apply_chat_template=True)

    def scored(name: str, root: Path, **changed: object) -> dict[str, str]:
        scoring = ScoringSpec(batch_size=2, data_root=root)
        spec = task.model_copy(update=changed)
        result = score(lm, [spec], scoring, own=None, output=tmp_path / name, library=library)
        assert result.num_fewshot == {"toy_questions": 0}
        assert result.fewshot_seed == 1234
        assert set(result.chat_template_sha256) == ({"toy_questions"} if spec.apply_chat_template else set())
        return dict(result.doc_sha256)

    one, two = make_root("one", "Is it one?", "Is it?"), make_root("two", "Is it two?", "Is it?")
    first = scored("first", one)

    assert first == scored("again", one, apply_chat_template=False)
    assert first != scored("other", two)
    assert first != scored("half", one, limit=0.5)


def test_scoring_works_where_there_is_no_network_interface_at_all(
    make_root: MakeRoot, library: TaskLibrary, tiny_model: Path, tmp_path: Path
) -> None:
    root = make_root("root", "Is it?", "Or not?")
    (root / "models" / "toys").mkdir(parents=True)
    (root / "models" / "toys" / "tiny").symlink_to(tiny_model)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, NO_NETWORK, root, library._include, tmp_path / "eval"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    if done.returncode == 77:
        pytest.skip(f"this machine forbids user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"interfaces": ["lo"], "up": False, "items": 2}
