"""Adapters scored together get what each scores alone."""

import math
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from evals.errors import ModelError
from evals.harness import score
from evals.items import read_items
from evals.models.engine import Engine
from evals.models.scored import load_lm
from evals.spec import ModelSpec, QuantizationSpec, ScoringSpec, TaskSpec
from evals.together import score_adapters

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CPU = torch.device("cpu")
TASKS = [TaskSpec(task="own")]
SCORING = ScoringSpec(batch_size=2)
KINDS = {
    "plain": {"r": 4, "target_modules": "all-linear"},
    "few": {"r": 2, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj"]},
    "rslora": {"r": 8, "use_rslora": True, "target_modules": ["v_proj", "gate_proj"]},
}
PAIRS = [("Where?", "up"), ("And when, after all that?", "down"), ("Who?", "up"), ("Why was it?", "sideways, at noon")]


@pytest.fixture
def adapters(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    for seed, (name, settings) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        get_peft_model(model, LoraConfig(init_lora_weights=False, **settings)).save_pretrained(tmp_path / name)
    return {name: tmp_path / name for name in KINDS}


@pytest.fixture
def own(write_own):
    return write_own(PAIRS, "label", labels=("up", "down", "sideways, at noon"), max_new_tokens=9)


def load(tiny_model: Path, cache: Path, **settings: object) -> HFLM:
    spec = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(spec, cache=cache, device=CPU, batch_size=2, **settings)


# bitsandbytes' products on a CPU round with the shape of the batch.
@pytest.mark.parametrize("base_kind", [(None, 1e-5), (QuantizationSpec(), 1e-3)], ids=["float32", "4-bit"])
def test_each_adapter_scores_what_it_scores_alone(tiny_model, adapters, own, tmp_path, base_kind) -> None:
    quantization, tolerance = base_kind
    base = load(tiny_model, tmp_path, quantization=quantization)
    together = score_adapters(base, adapters, TASKS, SCORING, own=own, output=tmp_path / "together")

    losses = set()
    for name, path in adapters.items():
        lm = load(tiny_model, tmp_path, quantization=quantization, adapter=path)
        alone = score(lm, TASKS, SCORING, own=own, output=tmp_path / "alone" / name)
        assert together[name].metrics.keys() == alone.metrics.keys()
        for metric, expected in alone.metrics.items():
            assert together[name].metrics[metric].value == pytest.approx(expected.value, abs=tolerance)
        mine, its = (list(read_items(tmp_path / way / name)) for way in ("together", "alone"))
        assert [item.answer for item in mine] == [item.answer for item in its]
        losses.add(round(together[name].metrics["own/loss"].value, 3))
    assert len(losses) == len(adapters)


def test_the_base_model_is_itself_again_afterwards(tiny_model, adapters, own, tmp_path) -> None:
    base = load(tiny_model, tmp_path)
    before = score(base, TASKS, SCORING, own=own, output=tmp_path / "before").metrics

    score_adapters(base, adapters, TASKS, SCORING, own=own, output=tmp_path / "together")

    assert score(base, TASKS, SCORING, own=own, output=tmp_path / "after").metrics == before


def test_requests_are_answered_in_one_go_for_all_adapters(tiny_model, adapters, own, tmp_path, monkeypatch) -> None:
    rows = []
    forward = Engine._forward

    def counted(engine: Engine, ids: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        rows.append(len(ids))
        return forward(engine, ids, *args, **kwargs)

    monkeypatch.setattr(Engine, "_forward", counted)
    monkeypatch.setattr(Engine, "fits", True)
    base = load(tiny_model, tmp_path)

    score_adapters(base, adapters, [TaskSpec(task="own", generate=False)], SCORING, own=own, output=tmp_path / "eval")

    # Four questions in batches of two, for three adapters each.
    assert rows == [6] * math.ceil(len(PAIRS) / 2)


def test_no_adapters_are_refused(tiny_model, own, tmp_path) -> None:
    with pytest.raises(ModelError, match="none given"):
        score_adapters(load(tiny_model, tmp_path), {}, TASKS, SCORING, own=own, output=tmp_path / "eval")
