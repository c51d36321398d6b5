"""What a trial used: at its peak the memory of this process and of its GPU, and all in all the device's energy.

The host's peak is sampled, because the operating system's own high-water mark covers the whole life of a process and a
worker runs many trials. Energy counters are read in the same breath, seldom enough to cost nothing.
"""

import threading
import time
from typing import Self

import psutil
import torch

from sweep.energy import EnergyMeter, counters_of
from sweep.environment import cpu_model
from sweep.record import DeviceUse, Memory

SAMPLE_SECONDS = 0.05
ENERGY_SECONDS = 10.0
"""A package's counter wraps after some minutes at full power; this is well below."""


class ResourceWatch:
    """Peak memory between entering and `peak()`, in bytes, and energy between entering and `use()`.

    >>> with ResourceWatch(torch.device("cpu")) as watch:
    ...     watch.peak().device_bytes is None
    True
    """

    def __init__(self, device: torch.device, count: int = 1) -> None:
        """`count` GPUs from the device on are held, or the one CPU of the machine."""
        self._device = device
        several = count > 1 and device.type == "cuda"
        self._held = [torch.device("cuda", number) for number in range(count)] if several else [device]
        self._noted = Memory(host_bytes=0, device_bytes=None)
        self._process = psutil.Process()
        self._host_bytes = 0
        self._energy = EnergyMeter([])
        self._energy_due = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._energy = EnergyMeter([counter for device in self._held for counter in counters_of(device)])
        self._energy_due = time.monotonic() + ENERGY_SECONDS
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
        own = torch.cuda.max_memory_allocated(self._device) if on_gpu else None
        return Memory(
            host_bytes=max(self._host_bytes, self._noted.host_bytes),
            device_bytes=None if own is None else max(own, self._noted.device_bytes or 0),
        )

    def note(self, memory: Memory) -> None:
        """Processes of the trial's own took this at their peak."""
        self._noted = memory

    def use(self) -> DeviceUse:
        """The device, and the energy so far."""
        on_gpu = self._device.type == "cuda"
        with self._lock:
            joules = self._energy.read()
        return DeviceUse(
            kind="cuda" if on_gpu else "cpu",
            name=torch.cuda.get_device_name(self._device) if on_gpu else cpu_model(),
            count=len(self._held),
            energy_joules=joules,
            energy_source=None if joules is None else self._energy.source,
        )

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()
            if time.monotonic() >= self._energy_due:
                self._energy_due += ENERGY_SECONDS
                with self._lock:
                    self._energy.read()

    def _look(self) -> None:
        self._host_bytes = max(self._host_bytes, self._process.memory_info().rss)
