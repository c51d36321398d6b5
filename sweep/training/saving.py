"""Save a checkpoint whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

from transformers.tokenization_utils_base import PreTrainedTokenizerBase


def scratch_of(output: Path) -> Path:
    """Where a checkpoint is written before it takes its name."""
    return output.with_name(f".{output.name}.partial")


def save_whole(output: Path, write: Callable[[Path], object], tokenizer: PreTrainedTokenizerBase) -> int:
    """Write under a temporary name, then rename; what is at `output` is always whole. Gives its size in bytes."""
    scratch = scratch_of(output)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        write(scratch)
        tokenizer.save_pretrained(scratch)
        shutil.rmtree(output, ignore_errors=True)
        scratch.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
