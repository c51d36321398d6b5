"""Load a tokenizer and a model for training or for scoring.

Both go through here, so that a base model is loaded the same way for every method and for its own score. Training
asks for a fresh model each time: a 4-bit model that has scored on a CPU has repacked its weights and no longer passes
gradients to the layers below.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PretrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from evals.errors import ModelError
from evals.models.source import ModelSource, find_source
from evals.models.trust import (
    UNREADABLE,
    code_settings,
    refuse_endless_model,
    refuse_pickled_model,
    refuse_pickled_parts,
)
from evals.spec import ModelSpec, QuantizationSpec

MISFIT = "ignore_mismatched_sizes"
"""What transformers says of weights of other shapes."""


def default_device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def load_tokenizer(model: ModelSpec, *, cache: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token. Raises ModelError where there is none."""
    code = code_settings(model)
    source = find_source(model, cache=cache)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.name_or_path, revision=source.revision, **code
        )
    except UNREADABLE as error:
        raise _cannot_load(model, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_of(model: ModelSpec, *, cache: Path) -> int | None:
    """Tokens that the model can read at once, as its configuration says; none where that says nothing."""
    code = code_settings(model)
    source = find_source(model, cache=cache)
    try:
        _refuse_endless(source)
        config = AutoConfig.from_pretrained(source.name_or_path, revision=source.revision, **code)
    except UNREADABLE as error:
        raise _cannot_load(model, error) from error
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def load_model(  # noqa: PLR0913
    model: ModelSpec,
    *,
    cache: Path,
    device: torch.device,
    quantization: QuantizationSpec | None = None,
    checkpoint: Path | None = None,
    quant_storage: str | None = None,
) -> PreTrainedModel:
    """The base model's weights, or those of a fully fine-tuned checkpoint, in the model's dtype on one device.

    `quant_storage` is the dtype that packed 4-bit weights are kept in, without another meaning; bytes unless named.
    """
    code = code_settings(model)
    source = find_source(model, cache=cache) if checkpoint is None else ModelSource(str(checkpoint), None)
    refuse_pickled_model(Path(source.name_or_path))
    try:
        _refuse_endless(source)
        _refuse_pickled_parts(source)
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source.name_or_path,
            revision=source.revision,
            dtype=getattr(torch, model.dtype),
            attn_implementation=model.attn_implementation,
            **code,
            quantization_config=None if quantization is None else four_bit_config(quantization, model, quant_storage),
            device_map={"": device},
            use_safetensors=True,
        )
    except UNREADABLE as error:
        raise _cannot_load(model, error) from error
    except RuntimeError as error:
        if MISFIT not in str(error):
            raise
        raise _cannot_load(model, ValueError("its weights are not of the shapes that its config.json says")) from error
    return loaded


def keep_unpacked(model: PreTrainedModel) -> None:
    """Keep 4-bit weights in the layout that they were loaded in, which training and DoRA read.

    On a CPU with AVX512-BF16, the first forward of a `Linear4bit` in eval mode on an input without gradient repacks its
    weights in place (bitsandbytes, `Linear4bit.forward`). The layers then give gradients no more, and whoever
    dequantizes the weights again, as DoRA does for its norms, reads noise. Forwards stay right but slower without it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def four_bit_config(quantization: QuantizationSpec, model: ModelSpec, storage: str | None = None) -> BitsAndBytesConfig:
    """Bitsandbytes' settings: 4-bit storage, compute in the model's own dtype (QLoRA, arXiv 2305.14314)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=quantization.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=getattr(torch, model.dtype),
        bnb_4bit_quant_storage=getattr(torch, storage or "uint8"),
    )


def _refuse_endless(source: ModelSource) -> None:
    settings, _ = PretrainedConfig.get_config_dict(source.name_or_path, revision=source.revision)
    refuse_endless_model(source.name_or_path, settings)


def _refuse_pickled_parts(source: ModelSource) -> None:
    index = cached_file(
        source.name_or_path,
        SAFE_WEIGHTS_INDEX_NAME,
        revision=source.revision,
        _raise_exceptions_for_missing_entries=False,
    )
    if index is not None:
        refuse_pickled_parts(source.name_or_path, Path(index))


def _cannot_load(model: ModelSpec, error: Exception) -> ModelError:
    if "custom code" in str(error):
        return ModelError(
            f"{model.model_name_or_path}: needs Python code of its own, which is not run unread. Where you have read "
            "it, set model.trust_remote_code: true, and model.revision to its full commit hash."
        )
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"{model.model_name_or_path}: cannot be loaded: {first_line}")
