"""Where a step's time goes: kernels by what they are for, launches, and how often the host waits."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from setting import wait_for
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

STEPS = 3
KINDS = {
    "4-bit": r"dequant|quantize|4bit|nf4",
    "attention": r"flash|fmha|scaled_dot|attention|softmax_warp|mha_",
    "batched products": r"\bbmm\b|baddbmm|gemm_?(strided_?)?batched|batched_?gemm|gemmSN",
    "matrix products": r"gemm|cutlass|nvjet|wgmma|cublas|sm90_xmma|ampere_|\bmm\b|addmm|linear|mkldnn",
    "optimizer and clipping": r"multi_tensor|adam|foreach|lpnorm",
    "loss": r"logsumexp|log_softmax|nll|cross_entropy",
    "sums and norms": r"reduce|norm|mean|cumsum|\bsum\b|rsqrt",
    "copies and gathers": r"copy|memcpy|memset|\bcat\b|CatArray|index|gather|scatter|fill|zero_|transpose|clone",
    "element by element": r"elementwise|vectorized|unrolled|\bmul\b|\badd\b|silu|pow|exp|sub|neg",
}
"""What a kernel's name says that it is for; the first that fits counts. On a CPU the names are operators'."""
WAITS = re.compile(r"cuda(Stream|Device|Event)Synchronize|Memcpy DtoH")
LAUNCHES = re.compile(r"cu(da)?LaunchKernel|cudaGraphLaunch")


def profiled(step: Callable[[], None], device: torch.device) -> dict[str, Any]:
    """A few steps under torch's profiler, and as many without it for the time."""
    milliseconds = _timed(step, device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        wait_for(device)
    on_gpu = device.type == "cuda"
    work = _kernels(found) if on_gpu else _operators(found)
    total = sum(each for each, _ in work.values()) or 1.0
    classes: dict[str, dict[str, Any]] = defaultdict(lambda: {"ms": 0.0, "calls": 0, "most": "", "most_ms": 0.0})
    for name, (each, calls) in work.items():
        one = classes[kind_of(name)]
        one["ms"] += each
        one["calls"] += calls
        if each > one["most_ms"]:
            one["most"], one["most_ms"] = name[:80], each
    for one in classes.values():
        one["share"] = one["ms"] / total
        one["calls"] = round(one["calls"])
    counts = Counter[str]()
    for event in found.events():
        counts["launches"] += bool(LAUNCHES.search(event.name))
        counts["waits"] += bool(WAITS.search(event.name))
    return {
        "step_ms": milliseconds,
        "idle_share": max(0.0, 1 - total / milliseconds) if on_gpu else 0.0,
        "launches": round(counts["launches"] / STEPS),
        "waits": round(counts["waits"] / STEPS),
        "note_on_device": "" if on_gpu else "On a CPU, operators are counted, and launches and waits mean nothing.",
        "classes": dict(classes),
    }


def kind_of(name: str) -> str:
    """The class of a kernel or operator."""
    return next((kind for kind, words in KINDS.items() if re.search(words, name, re.IGNORECASE)), "other")


def _timed(step: Callable[[], None], device: torch.device) -> float:
    import time

    wait_for(device)
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    wait_for(device)
    return 1000 * (time.perf_counter() - began) / STEPS


def _kernels(found: profile) -> dict[str, tuple[float, float]]:
    """Milliseconds and calls a step of each kernel."""
    seconds, calls = Counter[str](), Counter[str]()
    for event in found.events():
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            seconds[event.name] += event.self_device_time_total
            calls[event.name] += 1
    return {name: (spent / 1000 / STEPS, calls[name] / STEPS) for name, spent in seconds.items()}


def _operators(found: profile) -> dict[str, tuple[float, float]]:
    return {
        event.key: (event.self_cpu_time_total / 1000 / STEPS, event.count / STEPS) for event in found.key_averages()
    }
