"""The formula against what autograd really keeps: byte for byte, over shapes, dtypes, adapters and attention."""

import weakref
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sweep.adapters import lora_config
from sweep.plan.activations import Pass, cast_bytes, kept_bytes, recomputed_bytes
from sweep.plan.inspect import shape_of
from sweep.spec import PeftSpec

# PEFT and checkpointing read attributes that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning", "ignore:.*kernels.*")

ROWS, LENGTH = 2, 48
RANK_8 = PeftSpec(lora_r=8)
STEP_COUNT = 8
"""One number of eight bytes: how many labels there are."""
SHAPE = {"hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4, "num_key_value_heads": 2}
WIDE = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 6}


@dataclass(frozen=True)
class Case:
    """A way to train a small model."""

    dtype: torch.dtype = torch.bfloat16
    peft: PeftSpec | None = RANK_8
    attention: str = "sdpa"
    padded: bool = False
    checkpointed: bool = False
    four_bit: bool = False
    cuda_path: bool = False
    """PEFT's 4-bit layer asks whether CUDA's autocast is on: answer as on a GPU."""
    sizes: Any = None
    layers: int = 2


class Kept:
    """A tensor that autograd keeps, for as long as it does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def build(case: Case) -> torch.nn.Module:
    config = LlamaConfig(
        **(case.sizes or SHAPE),
        vocab_size=300,
        num_hidden_layers=case.layers,
        tie_word_embeddings=True,
        attn_implementation=case.attention,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(torch.float32 if case.peft is None else case.dtype)


def quantize(model: torch.nn.Module) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            layer = Linear4bit(module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16)
            layer.weight = Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            layer.support_avx512bf16_for_cpu = False
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layer.to("cpu"))
    # PEFT chooses its 4-bit layer by this mark.
    model.is_loaded_in_4bit = True


def measured(case: Case, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of all tensors that are kept at the end of a forward pass as TRL does it, weights themselves apart."""
    from peft import get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    model = build(case)
    if case.four_bit:
        quantize(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    if case.peft is not None:
        model = get_peft_model(model, lora_config(case.peft))
    if case.checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if case.peft is not None:
            model.enable_input_require_grads()
    model.train()
    ids = torch.randint(0, 300, (ROWS, LENGTH))
    mask = torch.ones_like(ids)
    if case.padded:
        mask[0, LENGTH // 2 :] = 0
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def keep(tensor: torch.Tensor) -> Kept:
        holder = Kept(tensor)
        kept.add(holder)
        return holder

    if case.cuda_path:
        ask = torch.is_autocast_enabled
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: ask(*device) if device else True)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda holder: holder.tensor),
        torch.autocast("cpu", dtype=case.dtype, enabled=case.dtype != torch.float32),
    ):
        output = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True, use_cache=False)
    assert output.loss.requires_grad
    storages = {holder.tensor.untyped_storage().data_ptr(): holder.tensor.untyped_storage().nbytes() for holder in kept}
    return sum(size for place, size in storages.items() if place not in weights)


def described(case: Case) -> tuple[Any, Pass]:
    shape = shape_of(build(case))
    peft = case.peft or PeftSpec()
    adapted = [] if case.peft is None else shape.targets(peft.lora_target_modules)
    return shape, Pass(
        rows=ROWS,
        length=LENGTH,
        dtype_bytes=case.dtype.itemsize,
        trains_all=case.peft is None,
        adapted=frozenset(linear.name for linear in adapted),
        rank=peft.lora_r,
        dropout=case.peft is not None and peft.lora_dropout > 0,
        dora=case.peft is not None and peft.use_dora,
        four_bit=case.four_bit,
        attention=case.attention,
        masked=case.padded,
        checkpointed=case.checkpointed,
        device="cuda" if case.cuda_path else "cpu",
    )


F32 = torch.float32
CASES = {
    "lora": Case(),
    "lora float32": Case(dtype=F32),
    "full": Case(peft=None),
    "full float32": Case(peft=None, dtype=F32),
    "rank": Case(peft=PeftSpec(lora_r=32)),
    "other shape": Case(sizes=WIDE, layers=4),
    "attention alone": Case(peft=PeftSpec(lora_r=8, lora_target_modules=("q_proj", "v_proj"))),
    "attention alone float32": Case(peft=PeftSpec(lora_r=8, lora_target_modules=("q_proj", "v_proj")), dtype=F32),
    "attention output alone": Case(peft=PeftSpec(lora_r=8, lora_target_modules=("o_proj",)), dtype=F32),
    "dropout": Case(peft=PeftSpec(lora_r=8, lora_dropout=0.1)),
    "dropout float32": Case(peft=PeftSpec(lora_r=8, lora_dropout=0.1), dtype=F32),
    "eager": Case(attention="eager"),
    "eager float32": Case(attention="eager", dtype=F32),
    "eager full": Case(attention="eager", peft=None),
    "padded": Case(padded=True),
    "padded float32": Case(padded=True, dtype=F32),
    "padded full": Case(padded=True, peft=None),
    "4 bits": Case(four_bit=True),
    "4 bits as on a GPU": Case(four_bit=True, cuda_path=True),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_is_counted_to_the_byte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    shape, described_pass = described(case)
    counted = kept_bytes(shape, described_pass) + cast_bytes(shape, described_pass)

    assert counted == measured(case, monkeypatch) - STEP_COUNT


@pytest.mark.parametrize("dtype", [torch.bfloat16, F32])
def test_doras_layers_are_counted_to_the_byte(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the first layer, whose input needs no gradient, DoRA keeps a little less: one more layer is what is compared.
    two, three = (Case(peft=PeftSpec(lora_r=8, use_dora=True), dtype=dtype, layers=count) for count in (2, 3))
    counted = [sum(part(*described(case)) for part in (kept_bytes, cast_bytes)) for case in (two, three)]

    assert counted[1] - counted[0] == measured(three, monkeypatch) - measured(two, monkeypatch)


@pytest.mark.parametrize("peft", [PeftSpec(lora_r=8), None])
@pytest.mark.parametrize("dtype", [torch.bfloat16, F32])
def test_checkpoints_keep_the_layers_inputs_alone(
    peft: PeftSpec | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(peft=peft, dtype=dtype, checkpointed=True)
    shape, of = described(case)
    # Rotary angles are held by the layers' arguments, which hooks do not see.
    angles = 2 * LENGTH * shape.head_width * of.stream_bytes

    assert kept_bytes(shape, of) - angles == measured(case, monkeypatch) - STEP_COUNT
    whole = replace(of, checkpointed=False)
    assert recomputed_bytes(shape, of) < kept_bytes(shape, whole) / shape.layers


def test_only_the_feed_forward_parts_output_adapted_is_counted_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    # In the first layer the gate needs no gradient, which is not told apart from the other factor.
    case = Case(peft=PeftSpec(lora_r=8, lora_target_modules=("up_proj",)), layers=8)
    shape, of = described(case)

    assert kept_bytes(shape, of) + cast_bytes(shape, of) == pytest.approx(measured(case, monkeypatch), rel=0.05)
