"""Energy by counters: packages of a made-up machine, a made-up driver, and what is not there."""

import ctypes
from pathlib import Path

import pytest
import torch

from sweep.energy import Counter, EnergyMeter, counters_of, open_nvml, rapl_counters


def package(root: Path, name: str, kind: str, microjoules: int, limit: int = 10_000_000) -> Path:
    zone = root / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{kind}\n")
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text(f"{limit}\n")
    return zone


def test_packages_are_added_up_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    first = package(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = package(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    part = package(tmp_path, "intel-rapl:0:0", "core", 500)
    package(tmp_path, "intel-rapl:2", "psys", 7)
    meter = EnergyMeter(counters_of(torch.device("cpu"), powercap=tmp_path))

    (first / "energy_uj").write_text("3500000\n")
    # This one has passed its end, and begun again.
    (second / "energy_uj").write_text("250000\n")
    (part / "energy_uj").write_text("9999999\n")

    assert meter.read() == pytest.approx(2.5 + 1.25)
    assert meter.source == "rapl"


def test_a_counter_that_may_not_be_read_leaves_none_at_all(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", "package-0", 1)
    (package(tmp_path, "intel-rapl:1", "package-1", 1) / "energy_uj").unlink()

    assert rapl_counters(tmp_path) == []
    assert rapl_counters(tmp_path / "nowhere") == []


def test_a_machine_without_counters_tells_no_energy_rather_than_none_used() -> None:
    meter = EnergyMeter([])

    assert meter.read() is None
    assert meter.source is None


def test_a_counter_that_is_lost_on_the_way_leaves_no_number(tmp_path: Path) -> None:
    zone = package(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = EnergyMeter(rapl_counters(tmp_path))
    (zone / "energy_uj").unlink()

    assert meter.read() is None
    assert meter.read() is None


class Driver:
    """NVML as far as it is asked."""

    def __init__(self, readings: list[int], *, device: str = "GPU-7", fails_at: str = "") -> None:
        self.readings, self.device, self.fails_at = readings, device, fails_at

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return int(self.fails_at == "init")

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: object) -> int:  # noqa: N802, ARG002
        return 0 if uuid.decode() == self.device else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, reading: object) -> int:  # noqa: N802, ARG002
        if self.fails_at == "energy":
            return 3
        ctypes.cast(reading, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.readings.pop(0)
        return 0


def test_a_gpu_is_asked_by_the_name_that_cuda_has_for_it() -> None:
    counter = open_nvml(Driver([0, 5_000, 12_500]), "7")  # type: ignore[arg-type]
    assert counter is not None
    meter = EnergyMeter([counter])

    assert meter.read() == pytest.approx(7.5)
    assert meter.source == "nvml"


@pytest.mark.parametrize(
    "driver", [Driver([], fails_at="init"), Driver([], device="GPU-8"), Driver([], fails_at="energy")]
)
def test_a_driver_that_does_not_tell_is_no_counter(driver: Driver) -> None:
    assert open_nvml(driver, "7") is None  # type: ignore[arg-type]


def test_several_wraps_are_each_counted_once() -> None:
    shown = iter([8.0, 2.0, 9.0, 1.0])
    meter = EnergyMeter([Counter("rapl", lambda: next(shown), wraps_at=10.0)])

    assert [meter.read(), meter.read(), meter.read()] == [4.0, 11.0, 13.0]
