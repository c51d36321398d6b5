"""The vLLM backend: lm-evaluation-harness's own wrapper of vLLM, given what our other backend is given.

vLLM is not among this project's packages: it wants a GPU and pins a torch of its own. Its scores differ from those of
transformers by rounding, and its 4-bit weights are quantized by its own loader; so a study has one backend for all of
its models.
"""

import json
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM

from evals.errors import ModelError
from evals.models.completion import CompletionLikelihood
from evals.models.source import find_source
from evals.models.trust import code_settings, refuse_pickled_adapter, refuse_pickled_model
from evals.spec import ModelSpec, QuantizationSpec

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be told to expect."""


def load_vllm(  # noqa: PLR0913
    model: ModelSpec,
    *,
    cache: Path,
    batch_size: int,
    quantization: QuantizationSpec | None = None,
    adapter: Path | None = None,
    checkpoint: Path | None = None,
) -> TemplateLM:
    """Load a base model, an adapter on it, or a full checkpoint into vLLM.

    Raises ModelError where vLLM is not installed, or where it cannot load the model.
    """
    code = code_settings(model)
    source = find_source(model, cache=cache)
    refuse_pickled_model(Path(source.name_or_path if checkpoint is None else checkpoint))
    if adapter is not None:
        refuse_pickled_adapter(adapter)
    given: dict[str, Any] = {
        "pretrained": source.name_or_path if checkpoint is None else str(checkpoint),
        "revision": source.revision if checkpoint is None else None,
        "dtype": model.dtype,
        "trust_remote_code": code["trust_remote_code"],
        "batch_size": batch_size,
    }
    if quantization is not None:
        given |= {"quantization": "bitsandbytes", "load_format": "bitsandbytes"}
    if adapter is not None:
        given |= {"lora_local_path": str(adapter), "max_lora_rank": _expected_rank(adapter)}
    try:
        return _wrapper()(**given)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{model.model_name_or_path}: vLLM cannot load this: {first_line}") from error


def _wrapper() -> type[TemplateLM]:
    try:
        from lm_eval.models.vllm_causallms import VLLM
    except ImportError as error:
        raise ModelError(
            f"evaluation.scoring.backend: vllm cannot be imported ({error}). Install vLLM into this environment, or "
            "leave the backend at hf."
        ) from error

    class VllmModel(CompletionLikelihood, VLLM):  # type: ignore[misc]  # lm_eval is untyped
        """VLLM's answers, and one more kind of request."""

        device = torch.device("cuda")

        @property
        def config(self) -> Any:  # noqa: ANN401
            """The model's own configuration."""
            return self._config

    return VllmModel


def _expected_rank(adapter: Path) -> int:
    try:
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        rank = max([int(config["r"]), *map(int, config.get("rank_pattern", {}).values())])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{adapter}: no adapter_config.json to read here. Give a PEFT adapter.") from error
    fitting = [allowed for allowed in LORA_RANKS if allowed >= rank]
    if not fitting:
        raise ModelError(f"{adapter}: rank {rank} is above {LORA_RANKS[-1]}, the most that vLLM takes. Score with hf.")
    return fitting[0]
