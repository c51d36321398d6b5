"""The validation loss: minus log-probability per completion token, over the whole split at once.

Weighted by token and not by row or batch, so that it is the quantity that scoring calls `own/loss`. It is taken over
completions even where training learns whole rows.
"""

from collections.abc import Iterable
from typing import Any

import torch

from sweep.training.ranks import ALONE, Ranks


@torch.no_grad()
def validation_loss(model: torch.nn.Module, batches: Iterable[dict[str, Any]], ranks: Ranks = ALONE) -> float:
    """Mean loss per token under TRL's fused output layer, which builds no logits; the model is left in training mode.

    Several processes read a part of the batches each. Raises ValueError where no token has a label.
    """
    loss, tokens = 0.0, 0.0
    model.eval()
    try:
        for batch, counts in ranks.share(batches):
            output = model(**batch, fused_lm_head=True, use_cache=False)
            if counts:
                loss -= float(output.log_probs.double().sum())
                tokens += int(output.label_mask.sum())
    finally:
        model.train()
    loss, tokens = ranks.add_up(loss, tokens)
    if tokens == 0:
        raise ValueError("the validation rows hold no completion token.")
    return loss / tokens
