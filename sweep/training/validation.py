"""The validation loss: minus log-probability per completion token, over the whole split at once.

Weighted by token and not by row or batch, so that it is the quantity that scoring calls `own/loss`. It is taken over
completions even where training learns whole rows.
"""

from collections.abc import Iterable
from typing import Any

import torch


@torch.no_grad()
def validation_loss(model: torch.nn.Module, batches: Iterable[dict[str, Any]]) -> float:
    """Mean loss per token under TRL's fused output layer, which builds no logits; the model is left in training mode.

    Raises ValueError where no token has a label.
    """
    loss, tokens = 0.0, 0
    model.eval()
    try:
        for batch in batches:
            output = model(**batch, fused_lm_head=True, use_cache=False)
            loss -= float(output.log_probs.double().sum())
            tokens += int(output.label_mask.sum())
    finally:
        model.train()
    if tokens == 0:
        raise ValueError("the validation rows hold no completion token.")
    return loss / tokens
