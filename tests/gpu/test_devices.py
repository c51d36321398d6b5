"""On a GPU that is only pretended, a forward of lanes mixes no devices and asks for no value.

torch's fake tensors know shapes, dtypes and devices and hold no numbers: they refuse an operation over two devices, and
anything that would need a value on the host. autograd's engine does not run over them without a GPU, so the adapters'
own backward is called by itself.
"""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from transformers import LlamaConfig, LlamaForCausalLM

from sweep.training.lanes import attention, layout, packed
from sweep.training.lanes.layout import Layout
from sweep.training.lanes.packed import Packed, Row, Share
from sweep.training.lanes.product import Product
from sweep.training.lanes.reader import Reader
from sweep.training.lanes.stacks import Adapter, LaneAdapters, Stacks
from sweep.training.lanes.transfer import joined

pytestmark = [
    pytest.mark.usefixtures("pretended"),
    # Without a GPU there is no autocast for one: the model is in its compute dtype anyway.
    pytest.mark.filterwarnings("ignore:CUDA is not available or torch_xla is imported:UserWarning"),
]
GPU = torch.device("cuda:0")
RANKS = (4, 8, 4)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch):
    """Fake tensors, and numbers that arrive at the device without the pinned memory that needs a driver."""

    def sent(values, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(len(values), dtype=dtype, device=device)

    for module in (attention, layout, packed):
        monkeypatch.setattr(module, "sent", sent)
    # What a driver would be asked for.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    with FakeTensorMode():
        yield


def model(dtype: torch.dtype) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.set_default_dtype(dtype)
    try:
        with torch.device(GPU):
            made = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    made.requires_grad_(requires_grad=False)
    made.config._attn_implementation = attention.NAME
    return made.train()


def adapters(base: LlamaForCausalLM) -> list[LaneAdapters]:
    """Three lanes, of which the second has fewer modules and another rank."""
    layers = {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    lanes = []
    for number, rank in enumerate(RANKS):
        mine = list(layers.items())[: 5 if number == 1 else None]
        modules = {
            name: Adapter(
                torch.nn.Parameter(torch.empty(rank, layer.in_features, device=GPU)),
                torch.nn.Parameter(torch.empty(rank, layer.out_features, device=GPU)),
                2.0,
            )
            for name, layer in mine
        }
        lanes.append(LaneAdapters(number, modules, 0.0, None))  # type: ignore[arg-type]
    return lanes


def batch(lengths: tuple[int, ...]) -> Packed:
    rows = [Row(list(range(3, 3 + length)), [-100] * 4 + list(range(7, 3 + length))) for length in lengths]
    return Packed([Share(number, [row, row], 0.1) for number, row in enumerate(rows)], GPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [(16, 16, 16), (16, 9, 12)], ids=["equal", "ragged"])
def test_a_forward_stays_on_the_device(lengths, dtype) -> None:
    base = model(dtype)
    stacks = Stacks(base, dtype)
    reader, lanes, read = Reader(base, stacks, dtype, GPU), adapters(base), batch(lengths)
    stacks.arrange(lanes)

    with stacks.reading(read, lanes, trains=True), attention.rows_of(read.row_lengths, GPU), reader.computing():
        total, losses = reader._losses(read)
    for lane in lanes:
        torch.nn.utils.clip_grad_norm_(lane.parameters, 1.0)
    numbers = joined([read.lane_sums(losses * read.weights), *(losses[:1] for _ in lanes)])

    assert (total.device, numbers.device, numbers.shape) == (GPU, GPU, (2 * len(lanes),))


def test_lanes_attend_by_the_varlen_kernel_where_a_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def seen(*states, **settings):
        calls.append((*(tuple(state.shape) for state in states[:3]), states[3].shape, states[5], settings))
        return varlen_attn(*states, **settings)

    monkeypatch.setattr(attention, "varlen_attn", seen)
    base, read = model(torch.bfloat16), batch((16, 9, 12))
    stacks = Stacks(base, torch.bfloat16)
    reader, lanes = Reader(base, stacks, torch.bfloat16, GPU), adapters(base)
    stacks.arrange(lanes)
    with stacks.reading(read, lanes, trains=True), attention.rows_of(read.row_lengths, GPU), reader.computing():
        reader._losses(read)

    assert len(calls) == 2, "once a layer"
    assert calls[0][:5] == ((74, 4, 16), (74, 2, 16), (74, 2, 16), (7,), 16)
    assert calls[0][5] == {"scale": 0.25, "window_size": (-1, 0), "enable_gqa": True, "num_splits": 1}


@pytest.mark.parametrize("lengths", [(16, 16, 16), (16, 9, 12)], ids=["equal", "ragged"])
def test_the_adapters_backward_stays_on_the_device(lengths) -> None:
    base = model(torch.bfloat16)
    stacks = Stacks(base, torch.bfloat16)
    stacks.arrange(adapters(base))
    stack = next(iter(stacks._stacks.values()))
    pages, size = stack.pages(tuple(range(len(RANKS)))), 2 * sum(lengths)
    ends = [(2 * sum(lengths[:number]), 2 * sum(lengths[: number + 1])) for number in range(len(lengths))]
    placed = Layout(ends, [1.0, 2.0, 1.0], size, dtype=torch.bfloat16, device=GPU)
    kept = placed.spread(torch.empty(size, 64, device=GPU, dtype=torch.bfloat16))
    inner = torch.empty(*kept.shape[:2], pages.rank, device=GPU, dtype=torch.bfloat16)
    context = SimpleNamespace(
        saved_tensors=(kept, inner), where=(stack, pages, placed), dtype=torch.bfloat16, needs_input_grad=(True, True)
    )

    grad, inputs_grad, *_ = Product.backward(context, torch.empty(1, size, 64, device=GPU, dtype=torch.bfloat16))

    assert grad.shape == inputs_grad.shape == (1, size, 64)
    assert grad.device == inputs_grad.device == stack.down_grad.device == GPU


def test_a_number_on_the_wrong_device_would_be_seen() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device=GPU) + torch.empty(3)
