"""How fast the device multiplies matrices: what training is measured against.

A data sheet's figure is no measure of a machine whose cores are shared, throttled or emulate a dtype. A square product
in the dtype that training computes in is the fastest that the same process reaches on the same device.
"""

import time
from functools import lru_cache
from statistics import median

import torch

from sweep.record import MatrixProduct

SIDE = {"cpu": 1024, "cuda": 4096}
"""Rows and columns: large enough that starting a product is lost in it, small enough to leave the memory alone."""
REPEATS = 5


def product_of(dtype: str, device: torch.device) -> MatrixProduct | None:
    """How fast the device is; a trial is not lost over a product that the device does not have or has no room for."""
    try:
        return measured_product(device, getattr(torch, dtype))
    except RuntimeError:
        return None


@lru_cache
def measured_product(device: torch.device, dtype: torch.dtype) -> MatrixProduct:
    """The median of a few products, measured once in a process. Takes three matrices of memory meanwhile."""
    return measure_product(device, dtype, SIDE[device.type])


def measure_product(device: torch.device, dtype: torch.dtype, side: int) -> MatrixProduct:
    """Multiply two square matrices a few times; 2 n³ operations each. The first one, which warms up, is left out."""
    # A GPU multiplies ones faster than it multiplies numbers: its clock depends on the power that it draws.
    draw = torch.Generator(device).manual_seed(0)
    left, right = (torch.rand(side, side, device=device, dtype=dtype, generator=draw) for _ in range(2))
    out = torch.empty_like(left)
    seconds = [_seconds_of(left, right, out) for _ in range(1 + REPEATS)][1:]
    return MatrixProduct(
        flops_per_second=2.0 * side**3 / median(seconds), side=side, dtype=str(dtype).removeprefix("torch.")
    )


def _seconds_of(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    _wait_for(left.device)
    began = time.perf_counter()
    torch.mm(left, right, out=out)
    _wait_for(left.device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
