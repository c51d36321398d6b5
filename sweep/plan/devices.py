"""What devices there are and how much memory they have, found without torch and without touching a GPU."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from sweep.environment import cpu_model
from sweep.errors import MachineError
from sweep.shape import Device, Facts
from sweep.spec import MethodSpec

MEBIBYTE = 2**20
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
PATIENCE_SECONDS = 60.0
FIELDS = "uuid,index,name,memory.total,memory.free"


def devices(visible: Sequence[str] | None = None) -> tuple[Device, ...]:
    """The GPUs that are visible, by uuid or number, or the CPU where there is none."""
    return gpus(visible) or (cpu(),)


def gpus(visible: Sequence[str] | None = None) -> tuple[Device, ...]:
    """NVIDIA's GPUs as its own program lists them; none where there is no such program or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listed = subprocess.run(  # noqa: S603 - found on the PATH, with fixed arguments
            [program, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return read_gpus(listed.stdout, visible)


def read_gpus(listed: str, visible: Sequence[str] | None) -> tuple[Device, ...]:
    """GPUs from lines of uuid, number, name, and total and free memory in MiB. A MIG slice counts as its whole GPU."""
    found = []
    for line in listed.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS.split(",")) or not cells[3].isdigit():
            continue
        uuid, index, name, memory, free = cells
        if visible is None or uuid in visible or index in visible:
            free_bytes = int(free) * MEBIBYTE if free.isdigit() else int(memory) * MEBIBYTE
            found.append(Device(name, "cuda", int(memory) * MEBIBYTE, free_bytes))
    return tuple(found)


def largest(facts: Facts, visible: Sequence[str | None]) -> Facts:
    """The facts with the largest device that a worker may have: what fits one of them is not refused."""
    names = [name for group in visible if group is not None for name in group.split(",")]
    if facts.device.kind == "cpu" or len(names) < 2:  # noqa: PLR2004 - there is nothing to choose
        return facts
    return replace(facts, device=max([facts.device, *gpus(names)], key=lambda device: device.memory_bytes))


def grouped(names: Sequence[str], methods: Mapping[str, MethodSpec]) -> tuple[str, ...]:
    """GPUs by worker, as CUDA_VISIBLE_DEVICES takes them: one, or as many as the method with most processes has.

    Raises MachineError where there are fewer. GPUs that make up no whole group are left out.
    """
    name, size = most_processes(methods)
    if names and len(names) < size:
        raise MachineError(
            f"methods.{name}.training.num_processes: {size} processes need a GPU each, and there are {len(names)}."
        )
    return tuple(",".join(names[start : start + size]) for start in range(0, len(names) - size + 1, size))


def most_processes(methods: Mapping[str, MethodSpec]) -> tuple[str, int]:
    """The method with most processes, and how many: every worker has a GPU for each of them."""
    return max(((name, method.training.num_processes) for name, method in methods.items()), key=lambda one: one[1])


def cpu() -> Device:
    """This machine's own memory, or what its control group may use of it."""
    memory = psutil.virtual_memory()
    total = min([memory.total, *_limits()])
    return Device(cpu_model(), "cpu", total, min(memory.available, total))


def _limits() -> list[int]:
    found = []
    for path in CGROUP_LIMITS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return found
