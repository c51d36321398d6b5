"""Our scoring beside stock lm-evaluation-harness, on any device, and several adapters together beside each alone."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PeftModel
from random_adapters import save_random_adapter
from transformers import AutoModelForCausalLM

from evals.models.answering import answer_generations, answer_loglikelihoods
from evals.models.bank import LoraBank, read_lora
from evals.models.engine import Engine
from evals.models.load import load_model, load_tokenizer
from evals.models.scored import ScoredModel
from evals.quiet import quietly
from evals.spec import ModelSpec

NEW_TOKENS = 24


@dataclass(frozen=True)
class Alike:
    """Two sides' answers to the same requests."""

    items: int
    deviation: float
    """Largest difference of two log-probabilities, in nats."""
    texts: int
    """Items with another text."""


def requests(kind: str, *, seed: int = 1) -> list[Instance]:
    """Made-up questions with shared examples, so that prefixes are shared too."""
    draw = random.Random(seed)  # noqa: S311 - requests, not secrets
    shots = "".join(f"Q: {number} plus {number}?\nA: {2 * number}\n\n" for number in range(8))
    questions = [f"{shots}Q: {draw.randrange(10**6)} plus {draw.randrange(10**6)}?\nA:" for _ in range(6)]
    if kind == "generate_until":
        asked = {"do_sample": False, "until": ["\n\n"], "max_gen_toks": NEW_TOKENS}
        return [Instance(kind, {}, (question, dict(asked)), place) for place, question in enumerate(questions)]
    return [Instance(kind, {}, (question, choice), 0) for question in questions for choice in (" A", " B", " in Rome")]


def wrapped(kind: type[HFLM], model: Any, spec: ModelSpec, cache: Path, batch_size: int) -> HFLM:
    """A loaded model as the harness sees it."""
    with quietly():
        return kind(
            pretrained=model.eval(), tokenizer=load_tokenizer(spec, cache=cache), batch_size=batch_size,
            softmax_dtype="float32",
        )  # fmt: skip


def beside_stock(spec: ModelSpec, cache: Path, device: torch.device, batch_size: int = 4) -> Alike:
    """The base model, by our engine and by the stock tool. Raises RuntimeError where our engine would not be used."""
    with quietly():
        model = load_model(spec, cache=cache, device=device)
    ours, stock = (wrapped(kind, model, spec, cache, batch_size) for kind in (ScoredModel, HFLM))
    if not ours.engine.fits:
        raise RuntimeError("the engine does not take this model on this device.")
    asked, prompts = requests("loglikelihood"), requests("generate_until")
    with quietly():
        mine, theirs = ours.loglikelihood(asked), stock.loglikelihood(asked)
        texts = zip(ours.generate_until(prompts), stock.generate_until(prompts), strict=True)
    largest = max(abs(one - other) for (one, _), (other, _) in zip(mine, theirs, strict=True))
    return Alike(len(asked) + len(prompts), largest, sum(one != other for one, other in texts))


def random_adapters(spec: ModelSpec, directory: Path, device: torch.device, count: int = 3) -> dict[str, Path]:
    """Random adapters of different ranks."""
    saved = {}
    for number in range(count):
        model = AutoModelForCausalLM.from_pretrained(spec.model_name_or_path, dtype=getattr(torch, spec.dtype))
        config = LoraConfig(r=4 * (number + 1), target_modules="all-linear")
        name = f"adapter-{number}"
        saved[name] = save_random_adapter(model.to(device), directory / name, config, seed=number, std=0.02)
    return saved


def together_beside_alone(
    spec: ModelSpec, adapters: Mapping[str, Path], cache: Path, device: torch.device, batch_size: int = 4
) -> Alike:
    """Adapters mixed in one batch, against each attached by PEFT and scored by our engine by itself."""
    asked, prompts = requests("loglikelihood"), requests("generate_until")
    with quietly():
        base = wrapped(ScoredModel, load_model(spec, cache=cache, device=device), spec, cache, batch_size)
        encoded = [(None, base.tok_encode(one.args[0]), base.tok_encode(one.args[1])) for one in asked]
        bank = LoraBank([read_lora(path, device) for path in adapters.values()])
        with bank.attached(base.model):
            base.engine = Engine(base.model, bank)
            scores, texts = answer_loglikelihoods(base, encoded), answer_generations(base, prompts)
    items, largest, other_texts = 0, 0.0, 0
    for number, path in enumerate(adapters.values()):
        with quietly():
            tuned = PeftModel.from_pretrained(load_model(spec, cache=cache, device=device), path)
            alone = wrapped(ScoredModel, tuned, spec, cache, batch_size)
            expected, own_texts = answer_loglikelihoods(alone, encoded)[0], answer_generations(alone, prompts)[0]
        pairs = zip(scores[number], expected, strict=True)
        largest = max(largest, *(abs(one[0] - other[0]) for one, other in pairs))
        other_texts += sum(one != other for one, other in zip(texts[number], own_texts, strict=True))
        items += len(asked) + len(prompts)
    return Alike(items, largest, other_texts)
