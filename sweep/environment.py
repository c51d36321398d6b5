"""What machine and versions a trial ran on, and what this machine can do.

`describe` goes into every record and may be published with a report: it names no host, user, path or setting that
could be a secret. It imports no torch; facts about a GPU come from torch only where torch is loaded already.
`capabilities` tries things out, imports torch, and is what `sweep doctor` shows.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = (
    "finetune-sweep", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets", "lm-eval",
    "optuna", "mlflow", "numpy",
)  # fmt: skip
OPTIONAL_PACKAGES = ("flash-attn", "vllm", "ray", "optuna-dashboard")
GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that this machine can or cannot do."""

    name: str
    """What it is."""
    ok: bool
    """Whether it works here."""
    detail: str
    """What was found, or why it does not work."""


def describe(*, ask_gpu: bool = False) -> dict[str, str]:
    """Python, platform, hardware, package versions and git commit. `ask_gpu` imports torch to name the GPU."""
    facts = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": str(_usable_cores()),
        "memory": f"{psutil.virtual_memory().total / GIBIBYTE:.1f} GiB",
        "driver": _driver_version(),
        "gpu": _gpus() if ask_gpu or "torch" in sys.modules else "",
        "git": _git_commit(),
    }
    facts.update({name: _version(name) for name in (*PACKAGES, *OPTIONAL_PACKAGES)})
    return {name: value for name, value in facts.items() if value}


def capabilities() -> list[Capability]:
    """Try what a study may need: devices, 4-bit, bfloat16, paged optimizers, attention, sandbox, versions."""
    tried = (_try(name, probe) for name, probe in PROBES.items())
    return [*_devices(), *tried, *_sandboxes(), *_installed()]


def _try(name: str, probe: Callable[[], str]) -> Capability:
    try:
        return Capability(name, ok=True, detail=probe())
    except Exception as error:  # noqa: BLE001 - whatever a probe raises is the answer to it
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Capability(name, ok=False, detail=lines[0])


def _devices() -> list[Capability]:
    import torch

    memory = psutil.virtual_memory()
    free_memory = f"{memory.available / GIBIBYTE:.1f} of {memory.total / GIBIBYTE:.1f} GiB free"
    found = [Capability("cpu", ok=True, detail=f"{cpu_model()}, {_usable_cores()} cores, {free_memory}")]
    if not torch.cuda.is_available():
        return [*found, Capability("gpu", ok=False, detail="no CUDA device is visible; training runs on the CPU")]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        detail = f"{torch.cuda.get_device_name(index)}, {free / GIBIBYTE:.1f} of {total / GIBIBYTE:.1f} GiB free"
        found.append(Capability(f"gpu {index}", ok=True, detail=detail))
    return found


def _probe_four_bit() -> str:
    """A real NF4 layer, compared with the weights it stands for."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32).to(device)
    rows = torch.randn(4, 64, device=device, requires_grad=True)
    product = layer(rows)
    expected = rows @ dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().T
    if not torch.allclose(product, expected, atol=1e-3):
        raise RuntimeError(f"an NF4 matrix product on {device} is wrong")
    torch.autograd.grad(product.sum(), rows)
    return f"NF4 forward and backward work on {device}"


def _probe_bfloat16() -> str:
    import torch

    if torch.cuda.is_available():
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise RuntimeError("this GPU has no bfloat16; use dtype float16 or float32")
        return "supported by the GPU"
    fast = any(flag in _cpu_flags() for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return "supported by the CPU" if fast else "emulated by this CPU, slower than float32"


def _probe_paged_optimizer() -> str:
    """One real step of paged 8-bit AdamW."""
    import torch
    from bitsandbytes.optim import PagedAdamW8bit

    if not torch.cuda.is_available():
        raise RuntimeError("needs a CUDA device; AdamW is used instead")
    weight = torch.nn.Parameter(torch.ones(8192, device="cuda"))
    optimizer = PagedAdamW8bit([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    return "paged 8-bit AdamW works"


def _probe_flash_attention() -> str:
    version = _version("flash-attn")
    if not version:
        raise RuntimeError("flash-attn is not installed; attn_implementation sdpa needs nothing")
    return f"flash-attn {version}"


PROBES: dict[str, Callable[[], str]] = {
    "4-bit weights": _probe_four_bit,
    "bfloat16": _probe_bfloat16,
    "paged 8-bit optimizer": _probe_paged_optimizer,
    "flash attention": _probe_flash_attention,
}


def _sandboxes() -> list[Capability]:
    """What keeps generated programs in, each property tried out."""
    from evals.code.selftest import examine_machine

    return [
        Capability(f"sandbox ({one.sandbox.name}): {check.name}", ok=check.ok, detail=check.detail or "holds")
        for one in examine_machine()
        for check in one.checks
    ]


def _installed() -> list[Capability]:
    found = []
    for name in PACKAGES:
        version = _version(name)
        found.append(Capability(name, ok=bool(version), detail=version or "not installed"))
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def cpu_model() -> str:
    """What the processor calls itself."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> frozenset[str]:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _driver_version() -> str:
    """NVIDIA's kernel driver, from its own line in /proc."""
    for line in _lines(Path("/proc/driver/nvidia/version")):
        words = line.split()
        if "Module" in words:
            return next((word for word in words if word[:1].isdigit() and "." in word), "")
    return ""


def _gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _git_commit() -> str:
    """Commit of the working directory, marked where files differ from it; empty outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit} with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        capture_output=True, text=True, check=True, timeout=10,
    ).stdout.strip()  # fmt: skip


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
