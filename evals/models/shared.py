"""Attention of many rows to one prefix, and of each row to itself, put together.

Rows that go on from the same prefix look at the same keys: their queries stand under each other for it, and nothing
is copied row by row. The softmax over both parts follows from each part's own and its normalizer (Hydragen, arXiv
2402.05099). For CPUs, whose kernel gives normalizers and spends most of its time on a prefix that is looked at row by
row; a back end that transformers' models look up by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from evals.models.caches import Recorded

NAME = "shared-prefix"

_current: list[Recorded] = []


@contextmanager
def going_on_from(model: Any, past: Recorded) -> Iterator[None]:  # noqa: ANN401 - transformers is untyped
    """Let a model's rows look at a prefix: as many rows in a row at each of those recorded."""
    before = model.config._attn_implementation  # noqa: SLF001
    model.config._attn_implementation = NAME  # noqa: SLF001
    _current.append(past)
    try:
        yield
    finally:
        _current.pop()
        model.config._attn_implementation = before  # noqa: SLF001


def attend(  # noqa: PLR0913
    module: Any,  # noqa: ANN401
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Attention of rows x heads x tokens x size, of which the mask says who sees whom; all see the prefix.

    Gives rows x tokens x heads x size. Raises NotImplementedError where a model's attention is no plain softmax.
    """
    others = ("softcap", "s_aux", "sliding_window", "position_bias")
    if dropout or any(unused.get(name) is not None for name in others):
        raise NotImplementedError("this model's attention is no plain softmax.")
    past = _current[-1]
    past_keys, past_values = past.keys[module.layer_idx], past.values[module.layer_idx]
    rows, heads, tokens, size = query.shape
    kinds, pairs = past_keys.shape[0], key.shape[1]
    folded = query.reshape(kinds, rows // kinds, pairs, heads // pairs * tokens, size).transpose(1, 2)
    found, normalizer = _softmax(folded.reshape(kinds, pairs, -1, size), past_keys, past_values, None, scaling)
    shape = (kinds, pairs, rows // kinds, heads // pairs * tokens)
    found = found.reshape(*shape, size).transpose(1, 2).reshape(query.shape)
    normalizer = normalizer.reshape(shape).transpose(1, 2).reshape(rows, heads, tokens)
    key, value = (state.repeat_interleave(heads // pairs, 1) for state in (key, value))
    own, own_normalizer = _softmax(query, key, value, attention_mask, scaling)
    share = torch.sigmoid(normalizer - own_normalizer)[..., None]
    return torch.lerp(own.float(), found.float(), share).to(query.dtype).transpose(1, 2), None


def _softmax(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, and the logarithm of what its weights were divided by, in float32."""
    found: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
        query, key, value, dropout_p=0.0, is_causal=False, attn_mask=mask, scale=scaling
    )
    return found


def _given(*_: object, attention_mask: torch.Tensor | None = None, **__: object) -> torch.Tensor | None:
    return attention_mask


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _given)
