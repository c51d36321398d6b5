"""Between lm-evaluation-harness's requests and the engine: what is read, truncated and cut is exactly as in HFLM.

Answers come for each adapter of the engine, so that one model and several in one batch take the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lm_eval.models import huggingface
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from evals.models.decoding import Prompt, generate
from evals.models.engine import Engine
from evals.models.likelihood import Answer, Request, loglikelihoods

GREEDY_KEYS = frozenset(
    {"until", "do_sample", "temperature", "max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
)
IDLE_SETTINGS = frozenset(
    # A model's generation defaults that change nothing in greedy decoding with a length of our own.
    {"bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p"}
    | {"max_length", "max_new_tokens", "use_cache", "transformers_version", "_from_model_config"}
)
LOOK_BACK = 2
"""Tokens to look at beyond a stop string's own, which may have been generated in other pieces."""


def is_shareable(lm: HFLM) -> bool:
    """Whether the engine may answer for this model; HFLM does otherwise."""
    is_plain = lm.backend == "causal" and isinstance(lm.batch_size, int) and lm.mixed_precision_dtype is None
    return is_plain and lm.logits_cache and bool(lm.engine.fits)


def is_plain_greedy(lm: HFLM, asked: Mapping[str, Any]) -> bool:
    """Whether this is generation without sampling, penalties or anything else that our own loop does not do."""
    kwargs = normalize_gen_kwargs(dict(asked), lm.max_gen_toks)
    defaults = lm.model.generation_config.to_diff_dict()
    active = {name for name, value in defaults.items() if value not in (None, False)} - IDLE_SETTINGS
    is_greedy = not kwargs.get("do_sample") and not kwargs.get("temperature")
    return is_greedy and not active and asked.keys() <= GREEDY_KEYS and not lm.truncation and not lm.think_end_token


def answer_loglikelihoods(lm: HFLM, requests: Sequence[tuple[Any, list[int], list[int]]]) -> list[list[Answer]]:
    """Log-likelihoods of encoded (context, continuation) pairs, for each adapter."""
    readable = []
    for _, context, continuation in requests:
        # What is too long loses its beginning, as in HFLM.
        tokens = tuple((context + continuation)[-(lm.max_length + 1) :][:-1])
        readable.append(Request(tokens, tuple(continuation)))
    engine: Engine = lm.engine
    answers = loglikelihoods(
        engine, readable, batch_size=lm.batch_size, on_answer=_progress(lm, len(requests), "loglikelihood")
    )
    if engine.copies == 1:
        for (text, _, _), answer in zip(requests, answers[0], strict=True):
            if text is not None:
                lm.cache_hook.add_partial("loglikelihood", text, answer)
    return answers


def answer_generations(lm: HFLM, requests: Sequence[Any]) -> list[list[str]]:
    """Generated texts, cut at their stop strings, for each adapter."""
    ends = frozenset(_end_tokens(lm))
    prompts, stops = [], []
    for request in requests:
        context, asked = request.args
        kwargs = normalize_gen_kwargs(asked, lm.max_gen_toks)
        until = handle_stop_sequences(kwargs["until"], eos=lm.tok_decode(lm.eot_token_id, skip_special_tokens=False))
        prompts.append(_prompt(lm, context, kwargs["max_gen_toks"], until, ends))
        stops.append(until)
    engine: Engine = lm.engine
    generated = generate(
        engine, prompts, batch_size=lm.batch_size, on_answer=_progress(lm, len(requests), "generate_until")
    )
    texts = [
        [
            postprocess_generated_text(lm.tok_decode(tokens), until, None)
            for tokens, until in zip(one, stops, strict=True)
        ]
        for one in generated
    ]
    if engine.copies == 1:
        for request, text in zip(requests, texts[0], strict=True):
            lm.cache_hook.add_partial("generate_until", request.args, text)
    return texts


def _prompt(lm: HFLM, context: str, max_new_tokens: int, until: Sequence[str], ends: frozenset[int]) -> Prompt:
    room = lm.max_length - max_new_tokens
    if room <= 0:
        raise ValueError(f"max_gen_toks is {max_new_tokens}, but this model takes {lm.max_length} tokens in all.")
    encoded, _ = lm.tok_batch_encode([context], left_truncate_len=room)
    pieces = [len(lm.tokenizer.encode(stop, add_special_tokens=False)) for stop in until]
    look_back = max(pieces, default=0) + LOOK_BACK
    return Prompt(tuple(encoded[0].tolist()), max_new_tokens, partial(_ends, lm.tokenizer, until, ends, look_back))


def _ends(tokenizer: Any, until: Sequence[str], ends: frozenset[int], look_back: int, generated: Sequence[int]) -> bool:  # noqa: ANN401
    if generated[-1] in ends:
        return True
    tail = tokenizer.decode(generated[-look_back:])
    return any(stop in tail for stop in until)


def _end_tokens(lm: HFLM) -> list[int]:
    tokens = lm.model.generation_config.eos_token_id
    if tokens is None:
        return []
    return list(tokens) if isinstance(tokens, list | tuple) else [int(tokens)]


def _progress(lm: HFLM, total: int, kind: str) -> Callable[[int], None]:
    # Looked up when it is used: it is exchanged for one that draws nothing.
    bar = huggingface.tqdm(total=total, disable=lm.rank != 0, desc=f"Running {kind} requests")
    update: Callable[[int], None] = bar.update
    return update
