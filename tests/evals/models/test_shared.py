"""A prefix that many rows look at apart: the same answers as when each row has a copy of it."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from evals.models.bank import LoraBank, read_lora
from evals.models.engine import Engine
from evals.models.likelihood import Request, loglikelihoods

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CPU = torch.device("cpu")
STEM = tuple((7 * number + 3) % 200 for number in range(90))


def fresh(tiny_model: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def requests() -> list[Request]:
    """Questions of several lengths after one stem, each with choices of one token and of several."""
    asked = []
    for question in range(7):
        context = (*STEM, *((11 * question + number) % 200 for number in range(5 + 3 * question)))
        for choice in range(3):
            expected = tuple(50 + choice + number for number in range(1 + question % 3))
            asked.append(Request((*context, *expected[:-1]), expected))
    return asked


def answers(engine: Engine) -> torch.Tensor:
    found = loglikelihoods(engine, requests(), batch_size=3, on_answer=lambda _: None)
    return torch.tensor([[value for value, _ in share] for share in found])


def test_looking_apart_gives_the_same_answers(tiny_model: Path) -> None:
    apart, copied = Engine(fresh(tiny_model)), Engine(fresh(tiny_model))
    assert apart.fits
    assert copied.fits
    assert apart._looks_apart
    copied._looks_apart = False

    torch.testing.assert_close(answers(apart), answers(copied), atol=1e-4, rtol=1e-5)
    assert apart.model.config._attn_implementation == "sdpa"


def test_rows_of_several_adapters_look_at_their_own_prefix(tiny_model: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        config = LoraConfig(init_lora_weights=False, r=4, target_modules="all-linear")
        get_peft_model(fresh(tiny_model), config).save_pretrained(tmp_path / name)
    bank = LoraBank([read_lora(tmp_path / name, CPU) for name in ("one", "two")])
    model = fresh(tiny_model)

    with bank.attached(model):
        engine = Engine(model, bank)
        assert engine.fits
        assert engine._looks_apart
        found = answers(engine)
        engine._looks_apart = False
        expected = answers(engine)

    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found[0], found[1])


def test_a_model_whose_attention_is_no_plain_softmax_has_the_prefix_copied(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evals.models import shared

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("caps its scores")

    monkeypatch.setattr(shared, "_softmax", refuse)
    engine = Engine(fresh(tiny_model))

    assert engine.fits
    assert not engine._looks_apart
    assert answers(engine).isfinite().all()
