"""Base models that stay in a worker over many trials: one to train adapters on, one to score them on.

They are two, because a 4-bit model that has been read from in evaluation mode on a CPU is repacked and passes no
gradients any more. Only the pair that was asked for last is kept.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from evals.models.load import load_tokenizer
from evals.models.scored import load_lm
from evals.spec import ModelSpec, ScoringSpec
from sweep.method_rules import quantization_of
from sweep.models import load_for_training, release_memory
from sweep.spec import MethodSpec
from sweep.training.lanes.ability import base_key


@dataclass(frozen=True, slots=True)
class _Kept:
    """A model, and what it was loaded as."""

    key: str
    model: PreTrainedModel | HFLM


class Bases:
    """Loads base models once for all trials that share them."""

    def __init__(self, cache: Path) -> None:
        """`cache` is where converted models are kept."""
        self.cache = cache
        self._training: _Kept | None = None
        self._scoring: _Kept | None = None

    def tokenizer(self, model: ModelSpec) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, fresh each time: a trainer may change its settings."""
        return load_tokenizer(model, cache=self.cache)

    def training(self, model: ModelSpec, method: MethodSpec, device: torch.device) -> PreTrainedModel:
        """The frozen base model that a method's adapters are trained on; whoever changes it changes it back."""
        key = base_key(method, model)
        if self._training is None or self._training.key != key:
            self.release()
            loaded = load_for_training(model, method, cache=self.cache, device=device)
            self._training = _Kept(key, loaded)
        return self._training.model

    def scoring(self, model: ModelSpec, method: MethodSpec, scoring: ScoringSpec, device: torch.device) -> HFLM:
        """The base model that a method's adapters are scored on."""
        key = f"{base_key(method, model)} {scoring!r}"
        if self._scoring is None or self._scoring.key != key:
            self._scoring = None
            release_memory()
            lm = load_lm(
                model,
                cache=self.cache,
                device=device,
                batch_size=scoring.batch_size,
                quantization=quantization_of(method),
                backend=scoring.backend,
            )
            self._scoring = _Kept(key, lm)
        return self._scoring.model

    def release(self) -> None:
        """Let go of all models."""
        self._training = self._scoring = None
        release_memory()
