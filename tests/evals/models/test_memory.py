"""Where memory runs out while a model is scored, it is scored with fewer rows at a time, and says so."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from evals.harness import score
from evals.models.decoding import Prompt, generate
from evals.models.engine import Engine
from evals.models.scored import load_lm
from evals.result import EvalResult
from evals.spec import ModelSpec, OwnDataSpec, OwnRow, ScoringSpec, TaskSpec
from evals.together import score_adapters

# PEFT 0.21 reads an attribute that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CPU = torch.device("cpu")
SCORING = ScoringSpec(batch_size=4, max_new_tokens=6)
ROWS = 7


@pytest.fixture
def own(tmp_path: Path) -> OwnDataSpec:
    rows = [OwnRow(row=n, prompt=f"{n} + {n} =", completion=f" {2 * n}", answer=str(2 * n)) for n in range(1, ROWS + 1)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return OwnDataSpec(rows=path, answer="text", max_new_tokens=6)


class Scarce:
    """Engines whose device holds so many rows at a time; what they try out for themselves is not counted."""

    def __init__(self, patch: pytest.MonkeyPatch, most: int) -> None:
        self.refused: list[int] = []
        self.read: list[int] = []
        forward = Engine._forward

        def bounded(engine: Engine, ids: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
            if "fits" in engine.__dict__:
                (self.refused if len(ids) > most else self.read).append(len(ids))
                if len(ids) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(engine, ids, *rest, **more)

        patch.setattr(Engine, "_forward", bounded)


def scored(model: Path, own: OwnDataSpec, path: Path, name: str) -> EvalResult:
    lm = load_lm(ModelSpec(model_name_or_path=str(model), dtype="float32"), cache=path, device=CPU, batch_size=4)
    return score(lm, [TaskSpec(task="own")], SCORING, own=own, output=path / name)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fewer_rows_at_a_time_give_the_same_answers(
    tiny_model: Path, own: OwnDataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = scored(tiny_model, own, tmp_path, "whole")
    scarce = Scarce(monkeypatch, rows)

    narrow = scored(tiny_model, own, tmp_path, "narrow")

    assert scarce.refused
    assert max(scarce.read) <= rows
    assert narrow.metrics.keys() == whole.metrics.keys()
    for name, metric in narrow.metrics.items():
        assert metric.value == pytest.approx(whole.metrics[name].value, rel=1e-5)
    assert narrow.doc_sha256 == whole.doc_sha256
    assert whole.notices == ()
    (notice,) = narrow.notices
    assert notice.startswith("memory ran out while scoring with batch_size 4: some answers were computed fewer")


def test_adapters_that_share_a_forward_share_less_of_it(
    tiny_model: Path, own: OwnDataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = {}
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        adapters[str(seed)] = tmp_path / f"adapter-{seed}"
        get_peft_model(model, config).save_pretrained(adapters[str(seed)])

    def together(name: str) -> dict[str, EvalResult]:
        spec = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
        lm = load_lm(spec, cache=tmp_path, device=CPU, batch_size=4)
        return score_adapters(lm, adapters, [TaskSpec(task="own")], SCORING, own=own, output=tmp_path / name)

    whole = together("whole")
    scarce = Scarce(monkeypatch, 5)
    narrow = together("narrow")

    assert scarce.refused
    for name in adapters:
        for metric, found in whole[name].metrics.items():
            assert narrow[name].metrics[metric].value == pytest.approx(found.value, rel=1e-5)
        assert len(narrow[name].notices) == 1


def test_what_does_not_fit_by_itself_is_an_error(
    tiny_model: Path, own: OwnDataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce = Scarce(monkeypatch, 0)

    with pytest.raises(torch.OutOfMemoryError):
        scored(tiny_model, own, tmp_path, "none")

    assert scarce.refused[-1] == 1


def test_an_answer_that_cannot_be_written_by_itself_is_an_error(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_lm(
        ModelSpec(model_name_or_path=str(tiny_model), dtype="float32"), cache=tmp_path, device=CPU, batch_size=4
    )
    assert lm.engine.fits
    scarce = Scarce(monkeypatch, 0)
    prompts = [Prompt((5, 6, 7), 4, lambda _: False) for _ in range(3)]

    with pytest.raises(torch.OutOfMemoryError):
        generate(lm.engine, prompts[:1], batch_size=4, on_answer=lambda _: None)
    assert scarce.refused == [1]
    with pytest.raises(torch.OutOfMemoryError):
        generate(lm.engine, prompts, batch_size=4, on_answer=lambda _: None)
    assert scarce.refused[-1] == 1
