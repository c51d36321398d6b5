"""Models of real shapes with random weights, made on the device: they measure speed and memory as well as trained ones.

Nothing is fetched. A matrix in 4 bits is drawn, quantized and dropped before the next, so that a model of 70 billion
weights never stands there in 16 bits.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig
from transformers.integrations import replace_with_bnb_linear
from transformers.modeling_utils import PreTrainedModel
from transformers.quantizers import AutoHfQuantizer

from evals.models.load import keep_unpacked

Kept = Literal["16-bit", "4-bit", "32-bit"]
"""What a method's weights are kept in: adapters' frozen base, QLoRA's, and full fine-tuning's."""
SPREAD = 0.02
"""Standard deviation of a drawn weight, as models are started."""


@dataclass(frozen=True)
class Size:
    """How a model is built."""

    name: str
    architecture: Literal["llama", "qwen2"]
    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        """About how many, norms and biases left out."""
        keys = self.hidden * self.key_value_heads // self.heads
        layer = 2 * self.hidden * (self.hidden + keys) + 3 * self.hidden * self.inner
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def config(self) -> PretrainedConfig:
        """As transformers has it."""
        return AutoConfig.for_model(
            self.architecture,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            vocab_size=self.vocabulary,
            tie_word_embeddings=self.tied,
            max_position_embeddings=8192,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )


REAL = {
    size.name: size
    for size in (
        Size("0.5B", "qwen2", 896, 4864, 24, 14, 2, 151_936, tied=True),
        Size("1B", "llama", 2048, 8192, 16, 32, 8, 128_256, tied=True),
        Size("3B", "qwen2", 2048, 11_008, 36, 16, 2, 151_936, tied=True),
        Size("8B", "llama", 4096, 14_336, 32, 32, 8, 128_256, tied=False),
        Size("70B", "llama", 8192, 28_672, 80, 64, 8, 128_256, tied=False),
    )
}
"""Qwen2.5's 0.5B and 3B, and Llama 3's 1B, 8B and 70B."""
TINY = {
    name: replace(size, hidden=64, inner=128, layers=2, heads=4, key_value_heads=2, vocabulary=512)
    for name, size in REAL.items()
}
"""The same architectures, small enough to try the script out anywhere."""


def build(size: Size, kept: Kept, device: torch.device, *, dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
    """A model with drawn weights, ready to be trained; `dtype` is what it computes in."""
    held = torch.float32 if kept == "32-bit" else dtype
    model: Any = skeleton(size, held)
    if kept == "4-bit":
        _quantize_later(model, dtype)
    generator = torch.Generator(device).manual_seed(seed)
    for name, weight in list(model.named_parameters()):
        parent, _, leaf = name.rpartition(".")
        module = model.get_submodule(parent)
        module.register_parameter(leaf, _drawn(module, leaf, weight, held, generator))
    # Angles are reckoned where they are used; on the meta device there were none.
    with device:
        model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    model.tie_weights()
    model.eval()
    keep_unpacked(model)
    return model


def skeleton(size: Size, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model without weights."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(size.config(), dtype=dtype)
    return model


def _drawn(
    module: torch.nn.Module, leaf: str, weight: torch.nn.Parameter, dtype: torch.dtype, generator: torch.Generator
) -> torch.nn.Parameter:
    device = generator.device
    if weight.dim() == 1:
        start = torch.zeros if leaf == "bias" else torch.ones
        return torch.nn.Parameter(start(weight.shape, dtype=dtype, device=device))
    if isinstance(module, Linear4bit):
        values = torch.empty(module.out_features, module.in_features, dtype=dtype, device=device)
        values.normal_(0, SPREAD, generator=generator)
        return Params4bit(values, **{**module.weight.__dict__, "requires_grad": False}).to(device)
    values = torch.empty(weight.shape, dtype=dtype, device=device)
    return torch.nn.Parameter(values.normal_(0, SPREAD, generator=generator))


def _quantize_later(model: Any, dtype: torch.dtype) -> None:
    """Put 4-bit layers in place of linear ones, as transformers does where it loads a model."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    replace_with_bnb_linear(model, modules_to_not_convert=["lm_head"], quantization_config=config)
    model.config.quantization_config = config
    model.hf_quantizer = AutoHfQuantizer.from_config(config, pre_quantized=False)
    model.quantization_method = config.quant_method
    model.is_quantized = model.is_loaded_in_4bit = True


def save(model: PreTrainedModel, directory: Path) -> Path:
    """A directory that any model is loaded from, with a tokenizer of bytes."""
    from toy_tokenizer import byte_tokenizer

    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    return directory


def seconds_to_build(size: Size) -> float:
    """About how long drawing takes: a GPU draws some 20 billion values a second, and quantizing is of that order."""
    return 2.0 + math.ceil(size.parameters / 5e9)
