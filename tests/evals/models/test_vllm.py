"""The vLLM backend, over a toy that computes with transformers: the same requests, the same answers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from safetensors.torch import save_file

from evals.errors import ModelError
from evals.harness import score
from evals.models.scored import load_lm
from evals.quiet import quietly
from evals.spec import ModelSpec, QuantizationSpec, ScoringSpec, TaskSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "toys"))

CPU = torch.device("cpu")
pytestmark = [
    # PEFT 0.21 reads an attribute that transformers 5 renamed.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def all_engines() -> Iterator[list]:
    import toy_vllm

    with pytest.MonkeyPatch.context() as patch:
        yield toy_vllm.install(patch)


@pytest.fixture
def engines(all_engines: list) -> list:
    all_engines.clear()
    return all_engines


@pytest.fixture
def model(tiny_model: Path) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=12, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("adapted", [False, True])
def test_own_data_score_as_with_transformers(engines, model, request, write_own, tmp_path, *, adapted) -> None:
    own = write_own([("Where?", "Rome"), ("When?", "At noon"), ("Who?", "She")], "text")
    adapter = request.getfixturevalue("adapter") if adapted else None
    results = {
        backend: score(
            load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=adapter, backend=backend),
            [TaskSpec(task="own")],
            ScoringSpec(batch_size=2, backend=backend),
            own=own,
            output=tmp_path / backend,
        )
        for backend in ("hf", "vllm")
    }

    assert results["vllm"].metrics.keys() == results["hf"].metrics.keys()
    for name, metric in results["hf"].metrics.items():
        assert results["vllm"].metrics[name].value == pytest.approx(metric.value, abs=1e-4), name
    assert results["vllm"].doc_sha256 == results["hf"].doc_sha256
    assert len(engines) == 1


@pytest.mark.usefixtures("engines")
def test_likelihoods_and_texts_are_those_of_transformers(model, tmp_path) -> None:
    given = {"cache": tmp_path, "device": CPU, "batch_size": 2}
    ours, theirs = load_lm(model, **given, backend="vllm"), load_lm(model, **given)
    asked = [Instance("loglikelihood", {}, ("Q: where?\nA:", choice), 0) for choice in (" Rome", " here", " at noon")]
    written = [Instance("generate_until", {}, (question, {"until": ["e"], "max_gen_toks": 6}), 0) for question in "AB"]

    with quietly():
        found, expected = ours.loglikelihood(asked), theirs.loglikelihood(asked)
        texts = ours.generate_until(written), theirs.generate_until(written)

    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert texts[0] == texts[1]


def test_an_engine_is_told_of_the_adapters_rank_and_of_4_bits(engines, model, adapter, tmp_path) -> None:
    load_lm(
        model,
        cache=tmp_path,
        device=CPU,
        batch_size=2,
        adapter=adapter,
        quantization=QuantizationSpec(),
        backend="vllm",
    )

    (engine,) = engines
    assert (engine["max_lora_rank"], engine["enable_lora"]) == (16, True)
    assert (engine["quantization"], engine["load_format"]) == ("bitsandbytes", "bitsandbytes")
    assert engine["dtype"] == "float32"


@pytest.mark.usefixtures("engines")
def test_a_rank_beyond_vllms_largest_is_refused(model, tmp_path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 16, "rank_pattern": {"q_proj": 1024}}')
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")

    with pytest.raises(ModelError, match="rank 1024 is above 512, the most that vLLM takes"):
        load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=tmp_path, backend="vllm")


def test_without_vllm_the_backend_is_refused_in_one_line(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", None)

    with pytest.raises(ModelError, match=r"backend: vllm cannot be imported \(.*\)\. Install vLLM") as raised:
        load_lm(model, cache=tmp_path, device=CPU, batch_size=2, backend="vllm")
    assert "\n" not in str(raised.value)
