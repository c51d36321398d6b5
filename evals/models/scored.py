"""A model as lm-evaluation-harness sees it: the base model, a base model with an adapter, or a tuned checkpoint.

Every model of a study is wrapped here with the same batch size, tokenizer and log-softmax in float32: in bfloat16 the
scores of several choices often come out exactly equal.
"""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from evals.errors import ModelError
from evals.models.answering import answer_generations, answer_loglikelihoods, is_plain_greedy, is_shareable
from evals.models.completion import CompletionLikelihood
from evals.models.engine import Engine
from evals.models.load import keep_unpacked, load_model, load_tokenizer
from evals.models.trust import UNREADABLE, refuse_endless_adapter, refuse_pickled_adapter
from evals.models.vllm import load_vllm
from evals.quiet import quietly
from evals.spec import Backend, ModelSpec, QuantizationSpec


class ScoredModel(CompletionLikelihood, HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """HFLM's answers, with what requests share computed once, and one more kind of request.

    A model that cannot share, and sampling, take HFLM's own path.
    """

    @cached_property
    def engine(self) -> Engine:
        """Shared prefixes and chosen logits for this model."""
        return Engine(self.model)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002  # lm_eval's signature
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        if not is_shareable(self):
            answers: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            return answers
        return answer_loglikelihoods(self, requests)[0]

    def generate_until(
        self,
        requests: Sequence[Any],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002  # lm_eval's signature
    ) -> list[str]:
        """Greedy generation by slots; anything else as lm-evaluation-harness does it."""
        if not is_shareable(self) or not all(is_plain_greedy(self, request.args[1]) for request in requests):
            texts: list[str] = super().generate_until(requests, disable_tqdm)
            return texts
        return answer_generations(self, requests)[0]


def load_lm(  # noqa: PLR0913
    model: ModelSpec,
    *,
    cache: Path,
    device: torch.device,
    batch_size: int,
    quantization: QuantizationSpec | None = None,
    adapter: Path | None = None,
    checkpoint: Path | None = None,
    backend: Backend = "hf",
) -> TemplateLM:
    """Load a model for scoring: the base, the base with a PEFT adapter, or a full checkpoint in the base's place.

    Raises ModelError where any of them cannot be loaded.
    """
    with quietly():
        if backend == "vllm":
            return load_vllm(
                model,
                cache=cache,
                batch_size=batch_size,
                quantization=quantization,
                adapter=adapter,
                checkpoint=checkpoint,
            )
        tokenizer = load_tokenizer(model, cache=cache)
        loaded = load_model(model, cache=cache, device=device, quantization=quantization, checkpoint=checkpoint)
        tuned = loaded if adapter is None else _attach(loaded, adapter)
        return wrap(tuned, tokenizer, batch_size=batch_size)


def wrap(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int) -> HFLM:
    """Wrap a loaded model for scoring and put it into evaluation mode."""
    model.eval()
    return ScoredModel(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, softmax_dtype="float32")


def _attach(model: PreTrainedModel, adapter: Path) -> PeftModel:
    refuse_pickled_adapter(adapter)
    refuse_endless_adapter(adapter, (name for name, _ in model.named_modules()))
    try:
        with warnings.catch_warnings():
            # PEFT only warns when the adapter lacks weights; the base model would be scored in its name.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            # PEFT 0.21 reads an attribute that transformers 5 renamed.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            tuned = PeftModel.from_pretrained(model, adapter)
    except (*UNREADABLE, RuntimeError, UserWarning) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{adapter}: cannot be attached to the base model: {first_line}") from error
    if getattr(tuned.peft_config["default"], "use_dora", False):
        keep_unpacked(tuned)
    return tuned
