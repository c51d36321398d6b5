"""Tokenize a prompt and its completion exactly as lm-evaluation-harness does when it scores them.

The loss of scoring and the validation loss of training are the same number only over the same tokens. This is what
`lm_eval.models.huggingface.HFLM` 0.4.13 does with `loglikelihood(prompt, completion)` and `add_bos_token=None`:

- Whitespace at the end of the prompt counts as the beginning of the completion, and is learned with it.
- Prompt and whole text are tokenized apart, and what the whole has beyond the prompt's length is the completion.
- Special tokens are added as the tokenizer likes, except where the text already starts with the beginning-of-sequence
  token: a chat template that writes it does not get it twice.
- Without a prompt (plain text) the beginning-of-sequence token (or the end-of-sequence one, where there is no other)
  stands before the text. It is context, not learned.

A prompt whose last letters merge with the completion into one token would be learned as something else than the user
wrote: such a row does not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweep.data.template import Rendered
from sweep.errors import DataError

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row in tokens."""

    input_ids: NDArray[np.int32]
    """Prompt and completion."""
    prompt_length: int
    """Tokens that are read and not learned."""
    whole: bool
    """False where prompt and completion share a token."""

    @property
    def completion_length(self) -> int:
        """Tokens that are learned."""
        return len(self.input_ids) - self.prompt_length


def tokenize(rendered: Sequence[Rendered], tokenizer: "PreTrainedTokenizerBase") -> list[Tokens]:
    """Tokens of each row, in order. Either every row has a prompt or none has."""
    prefix = prefix_token(tokenizer)
    if not any(row.prompt for row in rendered):
        texts = _encode_batch([row.completion for row in rendered], tokenizer, special=False)
        return [_after_prefix(prefix, text) for text in texts]
    begin = str(tokenizer.decode(prefix))
    pairs = [_border_at_text(row) for row in rendered]
    prompts = _encode([prompt for prompt, _ in pairs], tokenizer, begin)
    wholes = _encode([prompt + completion for prompt, completion in pairs], tokenizer, begin)
    return [_joined(prompt, whole) for prompt, whole in zip(prompts, wholes, strict=True)]


def prefix_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that stands before a text without a prompt. Raises DataError where the tokenizer has none."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise DataError(
        "this model's tokenizer has neither a beginning-of-sequence nor an end-of-sequence token. Use another."
    )


def _border_at_text(row: Rendered) -> tuple[str, str]:
    border = len(row.prompt.rstrip())
    return row.prompt[:border], row.prompt[border:] + row.completion


def _joined(prompt: list[int], whole: list[int]) -> Tokens:
    border = len(prompt)
    ids = np.asarray(prompt + whole[border:], dtype=np.int32)
    return Tokens(ids, border, whole=whole[:border] == prompt and len(whole) > border)


def _after_prefix(prefix: int, text: list[int]) -> Tokens:
    ids = text if text and text[0] == prefix else [prefix, *text]
    return Tokens(np.asarray(ids, dtype=np.int32), 1, whole=len(ids) > 1)


def _encode(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", begin: str) -> list[list[int]]:
    encoded: list[list[int]] = [[] for _ in texts]
    for has_begin in (False, True):
        places = [place for place, text in enumerate(texts) if text.startswith(begin) == has_begin]
        batch = _encode_batch([texts[place] for place in places], tokenizer, special=not has_begin)
        for place, ids in zip(places, batch, strict=True):
            encoded[place] = ids
    return encoded


def _encode_batch(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", *, special: bool) -> list[list[int]]:
    if not texts:
        return []
    # Not verbose: rows beyond the model's length are counted as not fitting instead of warned about.
    encoded = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    return [list(ids) for ids in encoded]
