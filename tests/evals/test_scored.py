"""Loading a model for scoring: base, adapter, 4-bit base with adapter, full checkpoint."""

import shutil
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from evals.errors import ModelError
from evals.harness import score
from evals.models.scored import load_lm
from evals.spec import ModelSpec, QuantizationSpec, ScoringSpec, TaskSpec

CPU = torch.device("cpu")

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def loss_of(lm: HFLM, own, output: Path) -> float:
    task = TaskSpec(task="own", generate=False)
    return score(lm, [task], ScoringSpec(batch_size=2), own=own, output=output).metrics["own/loss"].value


def save_adapter(tiny_model: Path, directory: Path, **settings: object) -> Path:
    """An adapter that moves every layer, with weights in both halves."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", **{"init_lora_weights": False, **settings})
    get_peft_model(model, config).save_pretrained(directory)
    return directory


@pytest.fixture
def model(tiny_model: Path) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model))


@pytest.fixture
def own(write_own):
    return write_own([("Where?", "Rome"), ("When?", "At noon")], "text")


def test_the_base_model_is_ready_to_score(model, tmp_path) -> None:
    lm = load_lm(model, cache=tmp_path, device=CPU, batch_size=3)

    assert isinstance(lm, HFLM)
    assert (lm.batch_size, lm.device, lm.softmax_dtype) == (3, CPU, torch.float32)
    assert not lm.model.training
    assert next(lm.model.parameters()).dtype == torch.bfloat16


def test_the_adapter_is_what_is_scored_with_it(model, tiny_model, own, tmp_path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    base = load_lm(model, cache=tmp_path, device=CPU, batch_size=2)
    adapted = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=adapter)

    by_hand = get_peft_model_loss(tiny_model, adapter)

    assert loss_of(adapted, own, tmp_path / "adapted") != pytest.approx(loss_of(base, own, tmp_path / "base"), abs=1e-3)
    assert loss_of(adapted, own, tmp_path / "again") == pytest.approx(by_hand, rel=1e-2)


def get_peft_model_loss(tiny_model: Path, adapter: Path) -> float:
    """Loss of the rows of `own` under PEFT alone, without lm-evaluation-harness."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16), adapter)
    model.eval()
    total, tokens = 0.0, 0
    for question, answer in (("Where?", "Rome"), ("When?", "At noon")):
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant"
        border = len(tokenizer.encode(prompt))
        ids = torch.tensor([tokenizer.encode(f"{prompt}\n{answer}<|im_end|>\n")])
        with torch.no_grad():
            logits = model(ids).logits[0, border - 1 : -1].float()
        total += torch.nn.functional.cross_entropy(logits, ids[0, border:], reduction="sum").item()
        tokens += ids.shape[1] - border
    return total / tokens


@pytest.mark.parametrize("settings", [None, {}, {"use_rslora": True}, {"use_dora": True}])
def test_a_4_bit_base_scores_close_to_its_original(model, tiny_model, own, tmp_path, settings) -> None:
    adapter = None if settings is None else save_adapter(tiny_model, tmp_path / "adapter", **settings)
    whole = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=adapter)
    small = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=adapter, quantization=QuantizationSpec())
    first, again = (loss_of(small, own, tmp_path / f"eval-{turn}") for turn in range(2))

    assert first == again
    assert first == pytest.approx(loss_of(whole, own, tmp_path / "whole"), rel=0.05)
    assert first != loss_of(whole, own, tmp_path / "whole")


def test_dora_over_a_4_bit_base_reads_the_bases_weights_and_not_a_repacked_layout(
    model, tiny_model, own, tmp_path
) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter", use_dora=True, init_lora_weights=True)
    four_bit = QuantizationSpec()
    base = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, quantization=four_bit)
    adapted = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, adapter=adapter, quantization=four_bit)

    # An adapter that has not been trained changes nothing but the rounding.
    expected = loss_of(base, own, tmp_path / "base")
    assert loss_of(adapted, own, tmp_path / "adapted") == pytest.approx(expected, abs=1e-3)


def test_a_full_checkpoint_takes_the_bases_place(model, tiny_model, own, tmp_path) -> None:
    tuned = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    with torch.no_grad():
        tuned.model.layers[0].mlp.down_proj.weight.add_(0.5)
    tuned.save_pretrained(tmp_path / "checkpoint")
    base = load_lm(model, cache=tmp_path, device=CPU, batch_size=2)
    checkpoint = load_lm(model, cache=tmp_path, device=CPU, batch_size=2, checkpoint=tmp_path / "checkpoint")

    assert loss_of(base, own, tmp_path / "base") != loss_of(checkpoint, own, tmp_path / "checkpoint-eval")


def test_a_directory_without_an_adapter_is_refused(model, tmp_path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        load_lm(model, cache=tmp_path, device=CPU, batch_size=1, adapter=tmp_path)


def test_an_adapter_that_lacks_weights_is_refused_instead_of_scored_as_the_base(model, tiny_model, tmp_path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[:-2]), adapter / "adapter_model.safetensors")

    with pytest.raises(ModelError, match="missing adapter keys"):
        load_lm(model, cache=tmp_path, device=CPU, batch_size=1, adapter=adapter)


def test_an_adapter_of_another_model_is_refused(model, tiny_model, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    config = LlamaConfig.from_pretrained(tiny_model)
    config.update({"hidden_size": 32, "num_attention_heads": 2})
    LlamaForCausalLM(config).save_pretrained(other)

    with pytest.raises(ModelError, match="cannot be attached"):
        load_lm(model, cache=tmp_path, device=CPU, batch_size=1, adapter=save_adapter(other, tmp_path / "adapter"))


def test_a_prompt_that_begins_with_the_prefix_token_gets_no_second_one(model, tmp_path) -> None:
    lm = load_lm(model, cache=tmp_path, device=CPU, batch_size=1)
    lm.tokenizer.add_bos_token = True

    assert lm.tok_encode("<|im_start|>user").count(lm.prefix_token_id) == 1


def test_without_a_prompt_every_token_of_the_text_counts(model, tmp_path) -> None:
    lm = load_lm(model, cache=tmp_path, device=CPU, batch_size=1)

    assert lm.count_completion_tokens("", "abc") == 3
    assert lm.count_completion_tokens("", "<|im_start|>abc") == 3
    assert lm.count_completion_tokens("ab\n", "c") == 2
