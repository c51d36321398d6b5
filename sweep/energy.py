"""How much energy the device took while a trial ran, where the machine tells it.

A GPU counts its own energy and NVIDIA's driver reads it out (NVML, through its shared library, so that no package is
needed). A CPU counts the energy of each package in a register that Linux shows under /sys/class/powercap, often to the
administrator alone. Both count everything that ran on the device meanwhile, a trial next door included.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

POWERCAP = Path("/sys/class/powercap")
NVML_LIBRARY = "libnvidia-ml.so.1"
NVML_SUCCESS = 0
MICROJOULES, MILLIJOULES = 1e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Counter:
    """An energy counter that only goes up, but may begin again at zero."""

    source: Literal["nvml", "rapl"]
    joules: Callable[[], float]
    """What it shows now."""
    wraps_at: float | None = None
    """Joules at which it begins again; None where it does not."""


class EnergyMeter:
    """Adds up what counters count between the first reading and the last; read it often enough that none wraps twice.

    >>> ticks = iter([2.0, 9.0, 1.0])
    >>> meter = EnergyMeter([Counter("rapl", lambda: next(ticks), wraps_at=10.0)])
    >>> meter.read(), meter.read()
    (7.0, 9.0)
    """

    def __init__(self, counters: list[Counter]) -> None:
        self._counters = counters
        self._joules = 0.0
        self._last = self._readings() or []

    @property
    def source(self) -> Literal["nvml", "rapl"] | None:
        """Where the energy is read; none where no counter is."""
        return self._counters[0].source if self._counters else None

    def read(self) -> float | None:
        """Joules since the meter was made; none where no counter is, or where one cannot be read any more."""
        now = self._readings()
        if now is None:
            return None
        for counter, before, after in zip(self._counters, self._last, now, strict=True):
            wrapped = counter.wraps_at if after < before else 0.0
            self._joules += after - before + (wrapped or 0.0)
        self._last = now
        return self._joules

    def _readings(self) -> list[float] | None:
        """What the counters show; a trial does not fail for want of them, so one that is lost ends the count."""
        try:
            return [counter.joules() for counter in self._counters] or None
        except (OSError, ValueError):
            self._counters = []
            return None


def counters_of(device: torch.device, *, powercap: Path = POWERCAP) -> list[Counter]:
    """The counters that belong to a device; none where it has none that may be read."""
    if device.type == "cuda":
        found = _nvml_counter(str(torch.cuda.get_device_properties(device).uuid))
        return [] if found is None else [found]
    return rapl_counters(powercap)


def rapl_counters(powercap: Path) -> list[Counter]:
    """One counter for each CPU package that lets us read it; all of them or none, as a part would say too little."""
    counters = []
    # `intel-rapl:0` is a package, on AMD too; `intel-rapl:0:1` a part of it that is counted there already.
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") > 1 or not _name(zone).startswith("package"):
            continue
        try:
            _number(zone / "energy_uj")
            limit = _number(zone / "max_energy_range_uj") * MICROJOULES
        except (OSError, ValueError):
            return []
        counters.append(Counter("rapl", _RaplReader(zone / "energy_uj"), wraps_at=limit))
    return counters


@dataclass(frozen=True, slots=True)
class _RaplReader:
    path: Path

    def __call__(self) -> float:
        return _number(self.path) * MICROJOULES


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int:
    return int(path.read_text("ascii"))


def _nvml_counter(uuid: str) -> Counter | None:
    """The counter of one GPU, which NVML knows by the same name as CUDA; cards before Volta have none."""
    try:
        library = ctypes.CDLL(NVML_LIBRARY)
    except OSError:
        return None
    return open_nvml(library, uuid)


def open_nvml(library: ctypes.CDLL, uuid: str) -> Counter | None:
    """A GPU's counter through NVML; None where the library, the device or the counter is not there."""
    handle = ctypes.c_void_p()
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    if library.nvmlInit_v2() != NVML_SUCCESS:
        return None
    if library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) != NVML_SUCCESS:
        return None

    def joules() -> float:
        millijoules = ctypes.c_ulonglong()
        code = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        if code != NVML_SUCCESS:
            raise OSError(f"NVML says {code}")
        return millijoules.value * MILLIJOULES

    try:
        joules()
    except OSError:
        return None
    return Counter("nvml", joules)
