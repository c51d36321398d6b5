"""Real benchmarks from the shared portion of the Hub, asked of a tiny model: names, filters, groups, graders."""

import json
import shutil
import sys
from pathlib import Path

import datasets
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from evals.errors import TaskError
from evals.harness import load_tasks, score
from evals.models.scored import load_lm
from evals.result import EvalResult
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from evals.tasks.groups import stratified_mean
from evals.tasks.library import TaskLibrary

pytestmark = pytest.mark.shared

SHORT = {"max_gen_toks": 8}
AREAS = ("mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities")


@pytest.fixture(scope="module")
def library() -> TaskLibrary:
    return TaskLibrary()


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def scored(lm: HFLM, task: TaskSpec, data_root: Path, library: TaskLibrary, output: Path) -> EvalResult:
    return score(lm, [task], ScoringSpec(batch_size=8, data_root=data_root), own=None, output=output, library=library)


def sampled(result: EvalResult, task: str, output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / result.samples[task]).read_text("utf-8").splitlines()]


def test_both_filters_of_gsm8k_are_reported_by_name(
    lm: HFLM, library: TaskLibrary, shared_data: Path, tmp_path: Path
) -> None:
    task = TaskSpec(task="gsm8k", limit=3, num_fewshot=1, gen_kwargs=SHORT)

    result = scored(lm, task, shared_data / "hub", library, tmp_path / "eval")

    assert set(result.metrics) == {"gsm8k/exact_match,strict-match", "gsm8k/exact_match,flexible-extract"}
    assert all(metric.n == 3 for metric in result.metrics.values())
    assert result.num_fewshot == {"gsm8k": 1}
    asked = sampled(result, "gsm8k", tmp_path / "eval")[0]["arguments"]["gen_args_0"]["arg_1"]
    assert asked["max_gen_toks"] == 8
    assert asked["until"]


def test_mmlu_and_its_four_areas_are_means_of_their_items_with_the_stratified_error(
    lm: HFLM, library: TaskLibrary, shared_data: Path, tmp_path: Path
) -> None:
    result = scored(lm, TaskSpec(task="mmlu", limit=2), shared_data / "hub", library, tmp_path / "eval")

    subjects = {name: sampled(result, name, tmp_path / "eval") for name in result.samples}
    assert len(subjects) == 57
    assert len(result.doc_sha256) == 57
    strata = [[float(sample["acc"]) for sample in samples] for samples in subjects.values()]
    whole = result.metrics["mmlu/acc"]
    assert (whole.value, whole.stderr) == pytest.approx(stratified_mean(strata, by_size=True))
    assert sum(result.metrics[f"{area}/acc"].n for area in AREAS) == whole.n == 114
    weighted = sum(result.metrics[f"{area}/acc"].value * result.metrics[f"{area}/acc"].n for area in AREAS)
    assert weighted / whole.n == pytest.approx(whole.value)


def test_ifeval_is_graded_without_a_network(
    lm: HFLM, library: TaskLibrary, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shared_data / "hub" / "google", tmp_path / "root" / "google")
    splitter = tmp_path / "root" / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    splitter.mkdir(parents=True)
    # A splitter that knows no abbreviations: enough to count with.
    for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"):
        (splitter / name).write_text("")

    result = scored(lm, TaskSpec(task="ifeval", gen_kwargs=SHORT), tmp_path / "root", library, tmp_path / "eval")

    levels = {f"ifeval/{level}_level_{kind}_acc" for level in ("prompt", "inst") for kind in ("strict", "loose")}
    assert set(result.metrics) == levels
    assert result.metrics["ifeval/prompt_level_strict_acc"].n == 120
    kinds = {
        kind for sample in sampled(result, "ifeval", tmp_path / "eval") for kind in sample["doc"]["instruction_id_list"]
    }
    assert {"length_constraints:number_sentences", "change_case:capital_word_frequency"} <= kinds
    assert capfd.readouterr().out == ""


def test_ifeval_without_its_sentence_splitter_is_refused_before_the_model_writes_anything(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    scoring = ScoringSpec(data_root=shared_data / "hub")

    with pytest.raises(TaskError, match=r"google/IFEval: grading needs NLTK's sentence splitter 'punkt_tab'.*Where"):
        load_tasks([TaskSpec(task="ifeval", limit=1)], scoring, own=None, library=TaskLibrary())
    assert "nltk" in sys.modules
