from pathlib import Path

import pytest
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase


@pytest.fixture
def tiny_tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    """The tiny model's tokenizer, afresh for each test, since tests change its template."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model)
    return tokenizer
