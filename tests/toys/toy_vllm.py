"""A vLLM of a few dozen lines that computes with transformers: what lm-evaluation-harness asks of the real one.

It answers with real numbers in vLLM's own shapes, so that all that stands between a study and vLLM is tried without a
GPU.
"""

import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

WRAPPER = "lm_eval.models.vllm_causallms"


@dataclass
class SamplingParams:
    temperature: float = 0.0
    prompt_logprobs: int | None = None
    max_tokens: int = 16
    detokenize: bool = True
    stop: Sequence[str] = ()
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True


@dataclass
class LoRARequest:
    name: str
    number: int
    path: str


@dataclass
class Output:
    prompt_logprobs: list[dict[int, float] | None] | None = None
    outputs: list[Any] = field(default_factory=list)


class LLM:
    started: list[dict[str, Any]]
    """Arguments of every engine that was started."""

    def __init__(self, model: str, dtype: str, max_lora_rank: int, **settings: Any) -> None:
        self.started.append({"model": model, "dtype": dtype, "max_lora_rank": max_lora_rank, **settings})
        self.path, self.max_lora_rank = model, max_lora_rank
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        length = self.model.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: Sequence[SamplingParams],
        use_tqdm: bool,
        lora_request: LoRARequest | None,
    ) -> list[Output]:
        del use_tqdm
        if lora_request is not None and not isinstance(self.model, PeftModel):
            self.model = PeftModel.from_pretrained(self.model, lora_request.path)
            assert self.model.peft_config["default"].r <= self.max_lora_rank
        pairs = zip(prompts, sampling_params, strict=True)
        return [self._answer(prompt["prompt_token_ids"], params) for prompt, params in pairs]

    @torch.no_grad()
    def _answer(self, tokens: list[int], params: SamplingParams) -> Output:
        assert len(tokens) < self.llm_engine.model_config.max_model_len
        if params.prompt_logprobs:
            return Output(prompt_logprobs=self._prompt_logprobs(tokens))
        generated: list[int] = []
        text = ""
        while len(generated) < params.max_tokens and not any(stop in text for stop in params.stop):
            generated.append(int(self.model(torch.tensor([tokens + generated])).logits[0, -1].argmax()))
            if generated[-1] == self.tokenizer.eos_token_id:
                break
            text = self.tokenizer.decode(generated, skip_special_tokens=params.skip_special_tokens)
        return Output(outputs=[SimpleNamespace(text=text)])

    def _prompt_logprobs(self, tokens: list[int]) -> list[dict[int, float] | None]:
        logprobs = self.model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
        found: list[dict[int, float] | None] = [None]
        for place, token in enumerate(tokens[1:]):
            likeliest = int(logprobs[place].argmax())
            found.append({number: float(logprobs[place, number]) for number in {token, likeliest}})
        return found


def install(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let `import vllm` give this one for as long as the patch holds. Gives the arguments of all engines started.

    lm-evaluation-harness registers its wrapper once in a process, so it is to be installed once.
    """
    LLM.started = []
    members = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams, "TokensPrompt": dict},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.renderers": {},
        "vllm.renderers.hf": {"resolve_chat_template": lambda tokenizer, **_: tokenizer.chat_template},
        "vllm.tokenizers": {"get_tokenizer": lambda name, **_: AutoTokenizer.from_pretrained(name)},
    }
    for name, found in members.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(found)
        monkeypatch.setitem(sys.modules, name, module)
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.99.0" if name == "vllm" else real(name))
    return LLM.started
