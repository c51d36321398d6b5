"""Memory that ends for real: the kernel refuses this process more data than it has now, and so much besides."""

import ctypes
import gc
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.progress import Progress
from sweep.protocol import Floor, RunTogether, RunTrial
from sweep.record import TrialRecord
from sweep.worker import TrialRunner

MEBIBYTE = 2**20
M_MMAP_THRESHOLD = -3
"""glibc's name for the size from which an allocation is the kernel's, who takes it back as soon as it is freed."""
OFTEN = 32 * MEBIBYTE
"""What that size has come to in a process that has freed large tensors."""


@contextmanager
def at_most(spare_bytes: int) -> Iterator[None]:
    """Let this process have so much more memory than it holds."""
    gc.collect()
    # What has been freed and is kept for later would count as held.
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_THRESHOLD, 64 * 1024)
    libc.malloc_trim(0)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_held() + spare_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
        libc.mallopt(M_MMAP_THRESHOLD, OFTEN)


class ScarceRunner(TrialRunner):
    """The real runner, in a worker that may have so much memory for its trials; the base model may have all."""

    def __init__(self, cache: Path, spare_bytes: int) -> None:
        super().__init__(cache)
        self._spare_bytes = spare_bytes

    def run(
        self, request: RunTrial, *, on_rung: Callable[[int, float], bool], on_progress: Callable[[Progress], None]
    ) -> TrialRecord:
        if request.config.method is None:
            return super().run(request, on_rung=on_rung, on_progress=on_progress)
        self._resident().release()
        with at_most(self._spare_bytes):
            return super().run(request, on_rung=on_rung, on_progress=on_progress)

    def run_together(self, request: RunTogether, floor: Floor) -> None:
        self._resident().release()
        with at_most(self._spare_bytes):
            super().run_together(request, floor)


def build_scarce(cache: Path, spare_bytes: int) -> ScarceRunner:
    """What a worker calls to get its runner; used with `functools.partial`."""
    return ScarceRunner(cache, spare_bytes)


def _held() -> int:
    found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024
