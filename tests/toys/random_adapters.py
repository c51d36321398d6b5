"""Adapters that have not been trained but move the model."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers.modeling_utils import PreTrainedModel


def save_random_adapter(model: PreTrainedModel, directory: Path, config: LoraConfig, *, seed: int, std: float) -> Path:
    """Save an adapter whose second matrices, which begin at zero, are drawn instead. The model keeps it."""
    torch.manual_seed(seed)
    tuned = get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=std)
    tuned.save_pretrained(directory)
    return directory
