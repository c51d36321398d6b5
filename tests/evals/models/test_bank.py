"""Several adapters in one batch: each row gets its own adapter's change, as PEFT computes it."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from evals.errors import ModelError
from evals.models.bank import LoraBank, read_lora

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CPU = torch.device("cpu")
KINDS = {
    "plain": {"r": 4, "target_modules": "all-linear"},
    "few": {"r": 2, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj"]},
    "rslora": {"r": 8, "use_rslora": True, "target_modules": ["v_proj", "gate_proj"]},
    "patterns": {
        "r": 4, "target_modules": ["q_proj", "o_proj"], "rank_pattern": {"o_proj": 6}, "alpha_pattern": {"q_proj": 3},
    },
}  # fmt: skip


def fresh(tiny_model: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def adapters(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    for seed, (name, settings) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        config = LoraConfig(init_lora_weights=False, **settings)
        get_peft_model(fresh(tiny_model), config).save_pretrained(tmp_path / name)
    return {name: tmp_path / name for name in KINDS}


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3], [3, 1, 1, 0, 2], [2]])
@torch.no_grad()
def test_each_row_gets_its_own_adapter(tiny_model, adapters, rows) -> None:
    ids = torch.arange(10 * len(rows)).view(len(rows), 10)
    names = list(adapters)
    expected = []
    for row, adapter in enumerate(rows):
        alone = PeftModel.from_pretrained(fresh(tiny_model), adapters[names[adapter]]).eval()
        expected.append(alone(ids[row : row + 1]).logits[0])
    base = fresh(tiny_model)
    untouched = base(ids).logits
    bank = LoraBank([read_lora(path, CPU) for path in adapters.values()])

    with bank.attached(base):
        bank.route(rows)
        found = base(ids).logits

    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert (found - untouched).abs().max() > 0.01
    torch.testing.assert_close(base(ids).logits, untouched)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True, "target_modules": ["q_proj"]}, "use_dora"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["norm"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "weights beside"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused(tiny_model, tmp_path, settings, named) -> None:
    get_peft_model(fresh(tiny_model), LoraConfig(r=2, **settings)).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=f"{named}.*Score it alone"):
        read_lora(tmp_path, CPU)


def test_a_directory_without_an_adapter_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        read_lora(tmp_path, CPU)


def test_an_adapter_of_another_model_is_refused(tiny_model, adapters) -> None:
    model = fresh(tiny_model)
    del model.model.layers[1]

    with pytest.raises(ModelError, match="no module"), LoraBank([read_lora(adapters["few"], CPU)]).attached(model):
        pass
    assert not model.model.layers[0].self_attn.q_proj._forward_hooks
