"""What a trial used at its peak: host memory of this process, and memory allocated on its GPU.

The host's peak is sampled, because the operating system's own high-water mark covers the whole life of a process and a
worker runs many trials.
"""

import threading
from typing import Self

import psutil
import torch

from sweep.record import Memory

SAMPLE_SECONDS = 0.05


class PeakMemory:
    """Peak memory between entering and `peak()`, in bytes.

    >>> with PeakMemory(torch.device("cpu")) as memory:
    ...     memory.peak().device_bytes is None
    True
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._host_bytes = 0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._look()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()

    def peak(self) -> Memory:
        """The peak so far."""
        self._look()
        on_gpu = self._device.type == "cuda"
        return Memory(
            host_bytes=self._host_bytes,
            device_bytes=torch.cuda.max_memory_allocated(self._device) if on_gpu else None,
        )

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self._host_bytes = max(self._host_bytes, self._process.memory_info().rss)
