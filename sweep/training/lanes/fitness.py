"""A base model in the hands of lanes, and whether it can be read in packed rows.

That is tried out on a few tokens against the model's own way.
"""

from typing import Any

import torch

from sweep.training.lanes import attention

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.12}
"""Largest deviation of the hidden states, as a share of their norm; a wrong mask gives many times as much."""
PROBE_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, NotImplementedError)


class LanesUnfitError(Exception):
    """The base model computes in a way that lanes do not follow; its trials are trained alone."""


class Lent:
    """A base model as lanes need it: frozen, in training mode, with their attention. It is given back as it was."""

    def __init__(self, base: Any) -> None:  # noqa: ANN401
        self._base = base
        self.attention: str = base.config._attn_implementation  # noqa: SLF001
        self._was_training: bool = base.training
        self._checkpoints: bool = base.is_activation_checkpointing
        base.requires_grad_(requires_grad=False)
        base.train()
        base.config._attn_implementation = attention.NAME  # noqa: SLF001

    def give_back(self) -> None:
        """Leave the base model as it was, but for its weights' gradients, which stay off."""
        self._base.config._attn_implementation = self.attention  # noqa: SLF001
        self._base.train(self._was_training)
        if self._base.is_activation_checkpointing and not self._checkpoints:
            self._base.activation_checkpointing_disable()


@torch.no_grad()
def refuse_misfit(base: Any, own_attention: str, packed_attention: str) -> None:  # noqa: ANN401
    """Raise LanesUnfitError where a packed batch gives other hidden states or logits than the model's own forward."""
    if _drops(base):
        raise LanesUnfitError("the base model has dropout of its own.")
    vocabulary = base.get_input_embeddings().weight.shape[0]
    rows = [[(7 * place + 3 + 5 * turn) % vocabulary for place in range(4 + 2 * turn)] for turn in range(2)]
    device = base.get_input_embeddings().weight.device
    base.eval()
    try:
        base.config._attn_implementation = own_attention  # noqa: SLF001
        alone = [base(torch.tensor([row], device=device), use_cache=False).logits[0] for row in rows]
        base.config._attn_implementation = packed_attention  # noqa: SLF001
        ids = torch.tensor([[token for row in rows for token in row]], device=device)
        positions = torch.tensor([[place for row in rows for place in range(len(row))]], device=device)
        with attention.rows_of([len(row) for row in rows], device):
            hidden = base.base_model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        packed = hidden[0].to(base.get_output_embeddings().weight.dtype) @ base.get_output_embeddings().weight.T
    except PROBE_ERRORS as error:
        raise LanesUnfitError(f"{type(error).__name__}: {error}") from error
    finally:
        base.train()
        base.config._attn_implementation = packed_attention  # noqa: SLF001
    expected, found = torch.cat(alone).double(), packed.double()
    deviation = float((found - expected).norm() / (expected - expected.mean()).norm())
    if not deviation <= TOLERANCE.get(base.get_output_embeddings().weight.dtype, 0.12):
        raise LanesUnfitError(f"a packed batch deviates by {deviation:.2g} of the logits.")


def _drops(base: Any) -> bool:  # noqa: ANN401
    config = base.config.get_text_config()
    rates = [getattr(config, name, 0.0) or 0.0 for name in ("attention_dropout", "hidden_dropout", "dropout")]
    return any(rates) or any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in base.modules())
