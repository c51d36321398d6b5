"""Memory that runs out while a model computes."""

import ctypes
import errno
import gc
import re
from contextlib import suppress

import torch

OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|ALLOC_FAILED|bad_alloc|can't start new thread",
    re.IGNORECASE,
)
"""What libraries say of memory that cannot be had, under errors that mean anything; a thread's stack needs some."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of the device or of the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def give_back() -> None:
    """Give the device and the system back what nothing names any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # The C library keeps what was freed, and nothing else on the machine could have it; not every one can be asked.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
